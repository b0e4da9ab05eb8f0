//! The word for a pod that ends: nothing is sent to it any more, by rules or by routes.

use std::collections::HashSet;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use model::route::Upstream;
use model::{NodeView, Revision, RouteView};
use tokio::sync::watch;

/// Gives what a node asks before it sends TERM: it resolves once the addresses are out of what the proxy and the ingress have in force.
pub fn watch(
    nodes: watch::Receiver<Arc<NodeView>>,
    routes: watch::Receiver<Arc<RouteView>>,
    applied: watch::Receiver<Revision>,
    served: watch::Receiver<Option<Revision>>,
) -> node::Gone {
    Arc::new(move |addresses: Vec<IpAddr>| {
        let addresses: HashSet<IpAddr> = addresses.into_iter().collect();
        let (mut nodes, mut routes, mut applied, mut served) = (nodes.clone(), routes.clone(), applied.clone(), served.clone());
        Box::pin(async move {
            // A part that ended sends nothing any more either.
            let Ok(view) = nodes.wait_for(|view| !is_sent_to(view, &addresses)).await.map(|view| view.revision) else { return };
            let _ = applied.wait_for(|applied| *applied >= view).await;
            let Ok(view) = routes.wait_for(|view| !is_routed_to(view, &addresses)).await.map(|view| view.revision) else { return };
            let _ = served.wait_for(|served| served.is_some_and(|served| served >= view)).await;
        })
    })
}

fn is_sent_to(view: &NodeView, addresses: &HashSet<IpAddr>) -> bool {
    let ports = view.services.iter().flat_map(|(_, service)| &service.ports);
    let verdicts = ports.flat_map(|port| [&port.internal, &port.external, &port.external_from_inside]);
    verdicts.into_iter().any(|verdict| verdict.endpoints().iter().any(|endpoint| addresses.contains(&endpoint.ip())))
}

fn is_routed_to(view: &RouteView, addresses: &HashSet<IpAddr>) -> bool {
    let is_one = |endpoint: &SocketAddr| addresses.contains(&endpoint.ip());
    view.upstreams.iter().any(|(_, upstream)| matches!(&**upstream, Upstream::Endpoints(endpoints) if endpoints.iter().any(is_one)))
}
