//! `discovery.k8s.io/v1`: EndpointSlices.

use crate::core::ObjectReference;
use crate::meta::ObjectMeta;

message! {
    pub struct EndpointSlice {
        1 "metadata" metadata: ObjectMeta,
        2 "endpoints" endpoints: Vec<Endpoint>,
        3 "ports" ports: Vec<EndpointPort>,
        /// `IPv4`, `IPv6` or `FQDN`.
        4 "addressType" address_type: Box<str>,
    }

    pub struct Endpoint {
        1 "addresses" addresses: Vec<Box<str>>,
        2 "conditions" conditions: EndpointConditions,
        3 "hostname" hostname: Option<Box<str>>,
        4 "targetRef" target_ref: Option<ObjectReference>,
        6 "nodeName" node_name: Option<Box<str>>,
        7 "zone" zone: Option<Box<str>>,
        8 "hints" hints: Option<EndpointHints>,
    }

    /// What is not said is unknown: consumers take ready and serving as true then, terminating as false.
    pub struct EndpointConditions {
        1 "ready" ready: Option<bool>,
        2 "serving" serving: Option<bool>,
        3 "terminating" terminating: Option<bool>,
    }

    pub struct EndpointHints {
        1 "forZones" for_zones: Vec<ForName>,
        2 "forNodes" for_nodes: Vec<ForName>,
    }

    /// `ForZone` and `ForNode`.
    pub struct ForName {
        1 "name" name: Box<str>,
    }

    pub struct EndpointPort {
        1 "name" name: Option<Box<str>>,
        2 "protocol" protocol: Option<Box<str>>,
        /// None: all ports.
        3 "port" port: Option<i32>,
        4 "appProtocol" app_protocol: Option<Box<str>>,
    }
}
