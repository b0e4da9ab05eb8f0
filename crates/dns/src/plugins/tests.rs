//! What the tests of the rooms share: one directive, one question, one answer as text.

use super::Spec;
use crate::config::{Corefile, Mistake};
use crate::server::chain::Request;
use crate::wire::message::{Message, Question};
use crate::wire::{CLASS_IN, flag, rcode_name, type_named};

/// What one directive of a block comes to.
pub(crate) fn spec(directive: &str) -> Spec {
    let corefile = Corefile::parse(&format!(". {{\n {directive}\n}}"))
        .unwrap_or_else(|mistakes| panic!("{}", mistakes.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")));
    corefile.blocks[0].plugins[0].clone()
}

/// What is wrong with it.
pub(crate) fn mistakes(directive: &str) -> Vec<String> {
    let told = Corefile::parse(&format!(". {{\n {directive}\n}}")).err().unwrap_or_default();
    told.into_iter().map(|Mistake { message, .. }| message).collect()
}

/// `NAME TYPE`, asked by a pod.
pub(crate) fn request(question: &str) -> Request {
    let (name, kind) = question.split_once(' ').expect("name and type");
    let name = crate::name::Name::parse(name).expect("a name");
    let question = Question { name, qtype: type_named(kind).expect("a type"), qclass: CLASS_IN };
    Request { flags: flag::RD, local: ([10, 96, 0, 10], 53).into(), ..Request::of(question, "10.2.0.1:4000".parse().expect("address")) }
}

/// The return code, then the records as a zone file writes them; those of the authority section behind `auth`.
pub(crate) fn shown(answer: &Message) -> String {
    let mut text = rcode_name(answer.rcode).to_owned() + "\n";
    text.extend(answer.answers.iter().map(|record| format!("{record}\n")));
    text.extend(answer.authorities.iter().map(|record| format!("auth {record}\n")));
    text.extend(answer.additionals.iter().map(|record| format!("add {record}\n")));
    text
}

/// What a whole Corefile answers to a question; nothing of it may wait for a socket.
pub(crate) fn ask(corefile: &str, question: &str) -> String {
    ask_of(corefile, super::kubernetes::tests::CLUSTER, false, question)
}

/// The same of other objects, on the way of those that the fast path does not answer.
pub(crate) fn ask_slowly(corefile: &str, objects: &str, question: &str) -> String {
    let routes = super::kubernetes::tests::filled_routes(&Corefile::parse(corefile).expect("a Corefile"), objects);
    let request = request(question);
    let packet = Message { flags: flag::RD, ..Message::answer(request.question.clone(), 0) }.encode(crate::wire::MAX_TCP, None);
    let mut query = crate::wire::Query::parse(&packet).expect("a query");
    let metrics = crate::server::metrics::Metrics::new(&runtime::Registry::default());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let replies = runtime.block_on(crate::server::slow::answer(&routes, &mut query, (request.client, request.local), false, &metrics));
    shown(&Message::parse(&replies[0]).expect("a message"))
}

/// The same of other objects; `own_pods`: where only the pods of this node ask.
pub(crate) fn ask_of(corefile: &str, objects: &str, own_pods: bool, question: &str) -> String {
    let routes = super::kubernetes::tests::routes_of(&Corefile::parse(corefile).expect("a Corefile"), objects, own_pods);
    let request = request(question);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    shown(&runtime.block_on(crate::server::chain::Next::start(&routes).whole(&request)))
}
