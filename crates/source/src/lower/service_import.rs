//! ServiceImport (KEP-1645).

use model::facts::{Index, ServiceImport, ServicePort, TargetPort};

use super::Fields;

pub(super) fn lower(import: &api::ServiceImport, fields: &mut Fields<'_>) -> ServiceImport {
    let mut ports = Vec::new();
    for (index, port) in import.spec.ports.iter().enumerate() {
        let path = |field: &'static str| move || format!("spec.ports[{index}].{field}");
        let Some(number) = fields.port(port.port, path("port")) else { continue };
        let Some(protocol) = fields.protocol(&port.protocol, path("protocol")) else { continue };
        ports.push(ServicePort {
            at: index as Index,
            name: fields.text(&port.name),
            protocol,
            port: number,
            node_port: None,
            app_protocol: fields.some_text(port.app_protocol.as_deref()),
            target_port: TargetPort::Number(number),
        });
    }
    ServiceImport {
        headless: &*import.spec.import_type == "Headless",
        ips: fields.addresses(import.spec.ips.iter().map(|ip| &**ip), "spec.ips"),
        ports,
    }
}
