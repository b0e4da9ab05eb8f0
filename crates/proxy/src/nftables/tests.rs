mod cluster;
mod flows;
mod packets;
mod rules;
