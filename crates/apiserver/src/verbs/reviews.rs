//! Kinds that are only asked: who am I, may I, is this token good, give me a token.
//!
//! Authorization is AlwaysAllow: whoever is known may do everything.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use runtime::time::Rfc3339;
use serde_json::{Value, json};

use super::{body, read};
use crate::answer::{self, Answer};
use crate::api_state::{Api, timestamp};
use crate::auth::{self, User};
use crate::refusal::Refusal;
use crate::request::{Call, WriteOptions};
use crate::schema::Gvk;
use crate::value::Get;

pub(super) async fn create(api: &Arc<Api>, call: &Arc<Call>) -> Result<Answer, Refusal> {
    let kind = &call.target.kind;
    let options = WriteOptions::parse("CreateOptions", &call.query, &call.agent)?;
    let decoded = body::object(api, call, &kind.gvk, options.validation)?;
    let mut review = decoded.object;
    let status = match kind.gvk.kind.as_str() {
        "SelfSubjectReview" => {
            review["metadata"]["creationTimestamp"] = timestamp().into();
            json!({"userInfo": user_info(&call.user)})
        }
        "TokenReview" => match api.user_of_token(review["spec"].text("token")) {
            Some(user) => json!({"authenticated": true, "user": user_info(&user), "audiences": [api.tokens.issuer()]}),
            None => json!({"user": {}, "error": "invalid bearer token"}),
        },
        "SelfSubjectRulesReview" => {
            let rules = json!([{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}]);
            json!({"resourceRules": rules, "nonResourceRules": [{"verbs": ["*"], "nonResourceURLs": ["*"]}], "incomplete": false})
        }
        _ => json!({"allowed": true}),
    };
    review["status"] = status;
    Ok(answer::value(&api.schema, call, 201, &kind.collection, review)?.warn(decoded.warnings))
}

fn user_info(user: &User) -> Value {
    let mut info = json!({"username": user.name, "groups": user.groups});
    if !user.uid.is_empty() {
        info["uid"] = user.uid.clone().into();
    }
    if !user.extra.is_empty() {
        info["extra"] = user.extra.iter().map(|(key, value)| (key.clone(), json!([value]))).collect();
    }
    info
}

/// `serviceaccounts/token`: a token for an account, bound to an object if that is asked.
pub(super) async fn token(api: &Arc<Api>, call: &Arc<Call>) -> Result<Answer, Refusal> {
    let gvk = Gvk::new("authentication.k8s.io", "v1", "TokenRequest");
    let options = WriteOptions::parse("CreateOptions", &call.query, &call.agent)?;
    let mut request = body::object(api, call, &gvk, options.validation)?.object;
    let account = read::find(api, call)?.parse();
    let spec = request["spec"].clone();
    let seconds = if spec.has("expirationSeconds") { spec.int("expirationSeconds") } else { 3_600 };
    let invalid = |field: &str, message: &str| Err(Refusal::invalid_field(&gvk, "", "FieldValueInvalid", field, message));
    if seconds < 600 {
        return invalid("spec.expirationSeconds", &format!("Invalid value: {seconds}: may not specify a duration less than 10 minutes"));
    }
    if seconds > 1 << 32 {
        return invalid(
            "spec.expirationSeconds",
            &format!("Invalid value: {seconds}: may not specify a duration larger than 2^32 seconds"),
        );
    }
    let bound = bound_object(api, call, &spec)?;
    let audiences = match spec.texts("audiences") {
        none if none.is_empty() => vec![api.tokens.issuer().to_owned()],
        some => some.into_iter().map(str::to_owned).collect(),
    };
    let meta = account.at("metadata");
    let token = api.tokens.issue(meta.text("namespace"), meta.text("name"), meta.text("uid"), bound.as_ref(), &audiences, seconds);
    let expires = SystemTime::now() + Duration::from_secs(seconds.unsigned_abs());
    request["metadata"] = json!({"name": meta["name"], "namespace": meta["namespace"], "creationTimestamp": timestamp()});
    request["spec"]["audiences"] = json!(audiences);
    request["spec"]["expirationSeconds"] = seconds.into();
    if !spec.has("boundObjectRef") {
        request["spec"]["boundObjectRef"] = Value::Null;
    }
    request["status"] = json!({"token": token, "expirationTimestamp": Rfc3339(expires).to_string()});
    answer::value(&api.schema, call, 201, "apis/authentication.k8s.io/v1/tokenrequests", request)
}

/// The Pod, Secret or Node that a token ends with.
fn bound_object(api: &Api, call: &Call, spec: &Value) -> Result<Option<auth::Bound>, Refusal> {
    let Some(reference) = spec.get("boundObjectRef").filter(|reference| reference.is_object()) else { return Ok(None) };
    let (kind, namespace) = match reference.text("kind") {
        "Pod" => ("pods", call.target.namespace.as_str()),
        "Secret" => ("secrets", call.target.namespace.as_str()),
        "Node" => ("nodes", ""),
        other => return Err(Refusal::bad_request(format!("cannot bind token to object of type {other}"))),
    };
    let kind = api.kinds.core(kind);
    let name = reference.text("name");
    let found = api.store.get(api.collection(kind), &crate::store::key(namespace, name));
    let found = found.ok_or_else(|| Refusal::not_found(kind, name))?.parse();
    let uid = found["metadata"].text("uid");
    if !reference.text("uid").is_empty() && reference.text("uid") != uid {
        let text = format!(
            "the UID in the bound object reference ({}) does not match the UID in record. The object might have been deleted and then recreated",
            reference.text("uid")
        );
        return Err(Refusal::conflict(kind, name, &text));
    }
    Ok(Some(auth::Bound { kind: kind.singular.clone(), name: name.to_owned(), uid: uid.to_owned() }))
}
