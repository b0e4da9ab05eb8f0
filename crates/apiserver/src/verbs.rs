//! The verbs: one path for all kinds from a call to its answer.
//!
//! Owns which verb a request means and what every verb does alike. What a kind does besides stands in its hooks, what it looks like in the
//! schema. Must not know HTTP beyond method and status, nor how the store keeps things.
//!
//! Source: apiserver's pkg/endpoints/handlers and pkg/registry/generic.

mod body;
mod create;
mod delete;
mod draft;
mod logs;
mod read;
mod reviews;
mod scale;
mod subresource;
#[cfg(test)]
mod tests;
mod update;

use std::sync::Arc;

use hyper::Method;

use crate::answer::Answer;
use crate::api_state::Api;
use crate::refusal::Refusal;
use crate::request::Call;
use crate::validate;

pub(crate) use draft::Draft;

/// Carries out a call for a resource.
pub(crate) async fn serve(api: &Arc<Api>, method: &Method, call: Call) -> Result<Answer, Refusal> {
    let deprecated = validate::deprecation(&call.target.kind.gvk);
    let answer = dispatch(api, method, Arc::new(call)).await?;
    Ok(answer.warn(deprecated.map(str::to_owned).into_iter().collect()))
}

async fn dispatch(api: &Arc<Api>, method: &Method, call: Arc<Call>) -> Result<Answer, Refusal> {
    let target = &call.target;
    if target.kind.stored.is_none() {
        return match *method {
            Method::POST if target.name.is_empty() && target.kind.gvk.kind == "Binding" => {
                subresource::bind(api, &call, String::new()).await
            }
            Method::POST if target.name.is_empty() => reviews::create(api, &call).await,
            _ => Err(Refusal::method_not_allowed()),
        };
    }
    if !target.subresource.is_empty() {
        return subresource::serve(api, method, &call).await;
    }
    let verb = match (method, target.name.is_empty()) {
        (&Method::GET, _) if target.watch || call.query.flag("watch") => "watch",
        (&Method::GET, true) => "list",
        (&Method::GET, false) => "get",
        (&Method::POST, true) => "create",
        (&Method::PUT, false) => "update",
        (&Method::PATCH, false) => "patch",
        (&Method::DELETE, false) => "delete",
        (&Method::DELETE, true) => "deletecollection",
        _ => return Err(Refusal::method_not_allowed()),
    };
    if !target.kind.allows(verb) {
        return Err(Refusal::method_not_allowed());
    }
    match verb {
        "watch" => crate::watch::open(api, &call),
        "list" => read::list(api, &call).await,
        "get" => read::get(api, &call),
        "create" => create::create(api, &call).await,
        "update" => update::update(api, &call).await,
        "patch" => update::patch(api, &call).await,
        "delete" => delete::one(api, &call).await,
        _ => delete::collection(api, &call).await,
    }
}
