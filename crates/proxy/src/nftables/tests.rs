mod cluster;
mod packets;
mod rules;
