//! Service links: the variables by which a container finds the Services of its namespace. Pure.
//!
//! Source: kubelet's `envvars.FromServices` and `getServiceEnvVarMap`.

use api::Service;

/// The Service that every container hears of, whatever its `enableServiceLinks` says.
const MASTER: (&str, &str) = ("default", "kubernetes");

/// The variables for a container in `namespace`. `services` are in order of their names.
pub fn variables<'a>(services: impl Iterator<Item = &'a Service>, namespace: &str, all: bool) -> Vec<(String, String)> {
    let mut variables = Vec::new();
    for service in services {
        let (of, name) = (&*service.metadata.namespace, &*service.metadata.name);
        if (of, name) == MASTER || (all && of == namespace) {
            add(service, &mut variables);
        }
    }
    variables
}

fn add(service: &Service, variables: &mut Vec<(String, String)>) {
    let ip = &*service.spec.cluster_ip;
    let Some(first) = service.spec.ports.first().filter(|_| !matches!(ip, "" | "None")) else { return };
    let name = upper(&service.metadata.name);
    let mut set = |suffix: String, value: String| variables.push((format!("{name}{suffix}"), value));
    let protocol = |protocol: &str| if protocol.is_empty() { "TCP".to_string() } else { protocol.to_string() };
    let bracketed = if ip.contains(':') { format!("[{ip}]") } else { ip.to_string() };
    let url = |kind: &str, port: i32| format!("{}://{bracketed}:{port}", kind.to_lowercase());

    set("_SERVICE_HOST".to_string(), ip.to_string());
    set("_SERVICE_PORT".to_string(), first.port.to_string());
    for port in service.spec.ports.iter().filter(|port| !port.name.is_empty()) {
        set(format!("_SERVICE_PORT_{}", upper(&port.name)), port.port.to_string());
    }
    set("_PORT".to_string(), url(&protocol(&first.protocol), first.port));
    for port in &service.spec.ports {
        let kind = protocol(&port.protocol);
        let prefix = format!("_PORT_{}_{kind}", port.port);
        set(prefix.clone(), url(&kind, port.port));
        set(format!("{prefix}_PROTO"), kind.to_lowercase());
        set(format!("{prefix}_PORT"), port.port.to_string());
        set(format!("{prefix}_ADDR"), ip.to_string());
    }
}

fn upper(name: &str) -> String {
    name.to_uppercase().replace('-', "_")
}

#[cfg(test)]
mod tests {
    use api::Object as _;

    use super::*;

    const SERVICES: [&str; 4] = [
        r#"{"metadata":{"namespace":"default","name":"kubernetes"},"spec":{"clusterIP":"10.96.0.1","ports":[{"name":"https","port":443,"protocol":"TCP"}]}}"#,
        r#"{"metadata":{"namespace":"shop","name":"my-db"},"spec":{"clusterIP":"fd00::5","ports":[{"port":53,"protocol":"UDP"}]}}"#,
        r#"{"metadata":{"namespace":"shop","name":"headless"},"spec":{"clusterIP":"None","ports":[{"port":80}]}}"#,
        r#"{"metadata":{"namespace":"other","name":"web"},"spec":{"clusterIP":"10.96.0.9","ports":[{"port":80}]}}"#,
    ];

    fn check(all: bool) -> Vec<String> {
        let services = SERVICES.map(|text| Service::decode_json(text).expect("a service"));
        variables(services.iter(), "shop", all).into_iter().map(|(name, value)| format!("{name}={value}")).collect()
    }

    #[test]
    fn the_api_is_always_told() {
        assert_eq!(
            check(false),
            [
                "KUBERNETES_SERVICE_HOST=10.96.0.1",
                "KUBERNETES_SERVICE_PORT=443",
                "KUBERNETES_SERVICE_PORT_HTTPS=443",
                "KUBERNETES_PORT=tcp://10.96.0.1:443",
                "KUBERNETES_PORT_443_TCP=tcp://10.96.0.1:443",
                "KUBERNETES_PORT_443_TCP_PROTO=tcp",
                "KUBERNETES_PORT_443_TCP_PORT=443",
                "KUBERNETES_PORT_443_TCP_ADDR=10.96.0.1",
            ]
        );
    }

    #[test]
    fn services_of_the_namespace_that_have_an_address_are_told_as_well() {
        assert_eq!(
            check(true)[8..],
            [
                "MY_DB_SERVICE_HOST=fd00::5",
                "MY_DB_SERVICE_PORT=53",
                "MY_DB_PORT=udp://[fd00::5]:53",
                "MY_DB_PORT_53_UDP=udp://[fd00::5]:53",
                "MY_DB_PORT_53_UDP_PROTO=udp",
                "MY_DB_PORT_53_UDP_PORT=53",
                "MY_DB_PORT_53_UDP_ADDR=fd00::5",
            ]
        );
    }
}
