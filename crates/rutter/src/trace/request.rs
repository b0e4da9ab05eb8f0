//! A URL: which host, which route, which upstream and its endpoints, as the ingress would choose.

use std::sync::Arc;

use model::Model;
use model::route::Upstream;

use super::Trace;

/// Follows one request to `host`.
pub fn trace(model: &Model, tls: bool, host: &str, port: u16, target: &str) -> Trace {
    let mut trace = Trace::default();
    let scheme = if tls { "https" } else { "http" };
    trace.say(format!("{scheme}://{host}:{port}{target}"));
    let routes = &model.views().routes;
    let followed = ingress::trace::trace(routes, tls, host, target);
    for step in followed.steps {
        match step.by {
            Some(origin) => trace.say_by(step.what, &origin.object, &*origin.field),
            None => trace.say(step.what),
        }
    }
    let Some(key) = followed.upstream else { return trace.end(followed.outcome) };
    let service = key.service.object();
    match routes.upstreams.get(&key).map(Arc::as_ref) {
        Some(Upstream::Endpoints(endpoints)) if !endpoints.is_empty() => {
            let list: Vec<_> = endpoints.iter().map(ToString::to_string).collect();
            trace.say_by(format!("{} ready endpoint(s)", endpoints.len()), &service, "EndpointSlices");
            trace.end(format!("{} to {}", followed.outcome, list.join(", ")))
        }
        Some(Upstream::Endpoints(_)) => {
            trace.say_by("no endpoint is ready", &service, "EndpointSlices");
            trace.end("503")
        }
        Some(Upstream::External { host, port }) => {
            trace.say_by("an ExternalName: looked up for each connection", &service, "spec.externalName");
            trace.end(format!("{} to {host}:{port}", followed.outcome))
        }
        Some(Upstream::Absent) | None => {
            trace.say_by("there is no such Service, or it has no such port", &service, "spec.ports");
            trace.end("503")
        }
    }
}
