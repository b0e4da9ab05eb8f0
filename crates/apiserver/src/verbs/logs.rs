//! pods/log: what a container wrote, asked of the node that runs it.

use std::sync::Arc;

use bytes::Bytes;
use serde_json::Value;

use super::read;
use crate::answer::Answer;
use crate::api_state::Api;
use crate::kubelet::{LogError, LogRequest};
use crate::refusal::Refusal;
use crate::request::Call;
use crate::value::Get;

pub(super) async fn serve(api: &Arc<Api>, call: &Arc<Call>) -> Result<Answer, Refusal> {
    let pod = read::find(api, call)?.parse();
    let container = container(&pod, call.query.text("container"))?;
    let number = |name: &str| match call.query.text(name) {
        "" => Ok(None),
        text => text.parse().map(Some).map_err(|_| Refusal::bad_request(format!("strconv.ParseInt: parsing {text:?}: invalid syntax"))),
    };
    let request = LogRequest {
        node: pod["spec"].text("nodeName").to_owned(),
        namespace: call.target.namespace.clone(),
        pod: call.target.name.clone(),
        uid: pod["metadata"].text("uid").to_owned(),
        container,
        follow: call.query.flag("follow"),
        previous: call.query.flag("previous"),
        timestamps: call.query.flag("timestamps"),
        since_seconds: number("sinceSeconds")?,
        since_time: Some(call.query.text("sinceTime").to_owned()).filter(|time| !time.is_empty()),
        tail_lines: number("tailLines")?,
        limit_bytes: number("limitBytes")?,
    };
    if request.node.is_empty() {
        // Nobody has written anything yet.
        return Ok(Answer::bytes(200, "text/plain", Bytes::new()));
    }
    match api.kubelet.logs(request).await {
        Ok(pieces) => Ok(Answer::stream("text/plain", pieces)),
        Err(LogError::NotThere(text)) => Err(Refusal::bad_request(text)),
        Err(LogError::Unreachable(text)) => Err(Refusal::internal(text)),
    }
}

fn container(pod: &Value, asked: &str) -> Result<String, Refusal> {
    let name = pod["metadata"].text("name");
    let spec = pod.at("spec");
    let of = |list: &str| spec.items(list).iter().map(|container| container.text("name")).collect::<Vec<_>>();
    let (main, init) = (of("containers"), [of("initContainers"), of("ephemeralContainers")].concat());
    match (asked, main.as_slice()) {
        ("", [only]) => Ok((*only).to_owned()),
        ("", _) if init.is_empty() => {
            Err(Refusal::bad_request(format!("a container name must be specified for pod {name}, choose one of: [{}]", main.join(" "))))
        }
        ("", _) => {
            let (main, init) = (main.join(" "), init.join(" "));
            Err(Refusal::bad_request(format!(
                "a container name must be specified for pod {name}, choose one of: [{main}] or one of the init containers: [{init}]"
            )))
        }
        (asked, _) if main.contains(&asked) || init.contains(&asked) => Ok(asked.to_owned()),
        (asked, _) => Err(Refusal::bad_request(format!("container {asked} is not valid for pod {name}"))),
    }
}
