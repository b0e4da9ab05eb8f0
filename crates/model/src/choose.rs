//! Endpoint choice: which endpoints of a service port this node may send to.
