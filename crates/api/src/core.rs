//! The core group, `v1`: services and what stands behind them.

use crate::meta::{Condition, ObjectMeta};
use crate::value::{Bytes, IntOrString, Map};

message! {
    pub struct Service {
        1 "metadata" metadata: ObjectMeta,
        2 "spec" spec: ServiceSpec,
        3 "status" status: ServiceStatus,
    }

    pub struct ServiceSpec {
        1 "ports" ports: Vec<ServicePort>,
        2 "selector" selector: Map,
        /// An address, `None` for a headless service, or nothing.
        3 "clusterIP" cluster_ip: Box<str>,
        4 "type" service_type: Box<str>,
        5 "externalIPs" external_ips: Vec<Box<str>>,
        7 "sessionAffinity" session_affinity: Box<str>,
        8 "loadBalancerIP" load_balancer_ip: Box<str>,
        9 "loadBalancerSourceRanges" load_balancer_source_ranges: Vec<Box<str>>,
        10 "externalName" external_name: Box<str>,
        11 "externalTrafficPolicy" external_traffic_policy: Box<str>,
        12 "healthCheckNodePort" health_check_node_port: i32,
        13 "publishNotReadyAddresses" publish_not_ready_addresses: bool,
        14 "sessionAffinityConfig" session_affinity_config: Option<SessionAffinityConfig>,
        17 "ipFamilyPolicy" ip_family_policy: Option<Box<str>>,
        18 "clusterIPs" cluster_ips: Vec<Box<str>>,
        19 "ipFamilies" ip_families: Vec<Box<str>>,
        20 "allocateLoadBalancerNodePorts" allocate_load_balancer_node_ports: Option<bool>,
        21 "loadBalancerClass" load_balancer_class: Option<Box<str>>,
        22 "internalTrafficPolicy" internal_traffic_policy: Option<Box<str>>,
        23 "trafficDistribution" traffic_distribution: Option<Box<str>>,
    }

    pub struct ServicePort {
        1 "name" name: Box<str>,
        2 "protocol" protocol: Box<str>,
        3 "port" port: i32,
        4 "targetPort" target_port: IntOrString,
        5 "nodePort" node_port: i32,
        6 "appProtocol" app_protocol: Option<Box<str>>,
    }

    pub struct SessionAffinityConfig {
        1 "clientIP" client_ip: Option<ClientIpConfig>,
    }

    pub struct ClientIpConfig {
        1 "timeoutSeconds" timeout_seconds: Option<i32>,
    }

    pub struct ServiceStatus {
        1 "loadBalancer" load_balancer: LoadBalancerStatus,
    }

    /// Where a load balancer answers; Services and Ingresses both have one.
    pub struct LoadBalancerStatus {
        1 "ingress" ingress: Vec<LoadBalancerIngress>,
    }

    pub struct LoadBalancerIngress {
        1 "ip" ip: Box<str>,
        2 "hostname" hostname: Box<str>,
        /// `VIP` or `Proxy`; an Ingress has none.
        3 "ipMode" ip_mode: Option<Box<str>>,
    }

    pub struct Endpoints {
        1 "metadata" metadata: ObjectMeta,
        2 "subsets" subsets: Vec<EndpointSubset>,
    }

    pub struct EndpointSubset {
        1 "addresses" addresses: Vec<EndpointAddress>,
        2 "notReadyAddresses" not_ready_addresses: Vec<EndpointAddress>,
        3 "ports" ports: Vec<EndpointPort>,
    }

    pub struct EndpointAddress {
        1 "ip" ip: Box<str>,
        2 "targetRef" target_ref: Option<ObjectReference>,
        3 "hostname" hostname: Box<str>,
        4 "nodeName" node_name: Option<Box<str>>,
    }

    pub struct EndpointPort {
        1 "name" name: Box<str>,
        2 "port" port: i32,
        3 "protocol" protocol: Box<str>,
        4 "appProtocol" app_protocol: Option<Box<str>>,
    }

    pub struct ObjectReference {
        1 "kind" kind: Box<str>,
        2 "namespace" namespace: Box<str>,
        3 "name" name: Box<str>,
        4 "uid" uid: Box<str>,
    }

    pub struct Node {
        1 "metadata" metadata: ObjectMeta,
        2 "spec" spec: NodeSpec,
        3 "status" status: NodeStatus,
    }

    pub struct NodeSpec {
        1 "podCIDR" pod_cidr: Box<str>,
        4 "unschedulable" unschedulable: bool,
        5 "taints" taints: Vec<Taint>,
        7 "podCIDRs" pod_cidrs: Vec<Box<str>>,
    }

    pub struct Taint {
        1 "key" key: Box<str>,
        2 "value" value: Box<str>,
        3 "effect" effect: Box<str>,
    }

    pub struct NodeStatus {
        4 "conditions" conditions: Vec<Condition>,
        5 "addresses" addresses: Vec<NodeAddress>,
    }

    pub struct NodeAddress {
        /// `InternalIP`, `ExternalIP`, `Hostname`, ...
        1 "type" address_type: Box<str>,
        2 "address" address: Box<str>,
    }

    pub struct Namespace {
        1 "metadata" metadata: ObjectMeta,
        3 "status" status: NamespaceStatus,
    }

    pub struct NamespaceStatus {
        1 "phase" phase: Box<str>,
    }

    pub struct Pod {
        1 "metadata" metadata: ObjectMeta,
        2 "spec" spec: PodSpec,
        3 "status" status: PodStatus,
    }

    pub struct PodSpec {
        10 "nodeName" node_name: Box<str>,
        11 "hostNetwork" host_network: bool,
        16 "hostname" hostname: Box<str>,
        17 "subdomain" subdomain: Box<str>,
    }

    pub struct PodStatus {
        1 "phase" phase: Box<str>,
        2 "conditions" conditions: Vec<Condition>,
        6 "podIP" pod_ip: Box<str>,
        12 "podIPs" pod_ips: Vec<PodIp>,
    }

    pub struct PodIp {
        1 "ip" ip: Box<str>,
    }

    pub struct Secret {
        1 "metadata" metadata: ObjectMeta,
        2 "data" data: Map<Bytes>,
        3 "type" secret_type: Box<str>,
        /// Only in files: a server has folded it into `data`.
        4 "stringData" string_data: Map,
    }

    pub struct ConfigMap {
        1 "metadata" metadata: ObjectMeta,
        2 "data" data: Map,
        3 "binaryData" binary_data: Map<Bytes>,
    }
}
