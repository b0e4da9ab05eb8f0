use super::*;
use crate::plugins::Spec;
use crate::plugins::kubernetes::snapshot;
use crate::plugins::kubernetes::tests::names;
use crate::server::build::Followed;
use crate::server::{AtOnce, at_once};
use crate::wire::message::Message;
use crate::wire::{MAX_TCP, flag, rcode};

/// A follower whose proxy has applied revision 1, which held `web`.
fn follower() -> (Follower, watch::Sender<Revision>, NameView) {
    let corefile = crate::config::Corefile::parse(". {\n kubernetes cluster.local\n}").expect("a Corefile");
    let Some(Spec::Kubernetes(options)) = corefile.blocks[0].plugins.first().cloned() else { panic!("kubernetes is there") };
    let (applied, watching) = watch::channel(Revision(1));
    let (_, views) = watch::channel(Arc::default());
    let metrics = Metrics::new(&runtime::Registry::default());
    let current = Current::new(arc_swap::ArcSwap::from_pointee(Snapshot::unsynced()));
    let follower = Follower { options, current, names: views, early: None, applied: Some(watching), metrics, ready: None };
    let view = names("ns default\nsvc default/web 10.96.0.1 http:80/tcp\n");
    follower.take_up(&Arc::new(view.clone()), &mut Vec::new());
    (follower, applied, view)
}

fn put(view: &mut NameView, revision: u64, objects: &str) -> Arc<NameView> {
    view.revision = Revision(revision);
    for (name, service) in names(objects).services.iter() {
        view.services.insert(view.revision, name.clone(), service.clone());
    }
    Arc::new(view.clone())
}

fn knows(follower: &Follower, name: &str) -> bool {
    let key = snapshot::key(&ServiceName::new("default", name)).expect("a key");
    follower.current.load().services.get(&key).is_some()
}

#[test]
fn a_new_virtual_address_has_no_name_before_the_proxy_applied_it() {
    let (follower, applied, mut view) = follower();
    let mut held = Vec::new();
    let second = put(&mut view, 2, "svc default/new 10.96.0.2 http:80/tcp\nheadless default/db\n  ep 10.1.0.1\n");
    follower.take_up(&second, &mut held);
    assert!(!knows(&follower, "new"), "the proxy is at revision 1");
    assert!(knows(&follower, "db"), "what needs no rule does not wait");
    // A change to it meanwhile waits as well.
    let third = put(&mut view, 3, "svc default/new 10.96.0.2 https:443/tcp\n");
    follower.take_up(&third, &mut held);
    assert!(!knows(&follower, "new"));
    applied.send_replace(Revision(2));
    follower.let_go(&mut held);
    assert!(knows(&follower, "new") && held.is_empty());
}

#[test]
fn a_new_name_waits_for_a_slow_proxy_only_so_long() {
    let (follower, _applied, mut view) = follower();
    let mut held = Vec::new();
    follower.take_up(&put(&mut view, 2, "svc default/new 10.96.0.2 http:80/tcp\n"), &mut held);
    assert!(!knows(&follower, "new"));
    held[0].until = Instant::now();
    follower.let_go(&mut held);
    assert!(knows(&follower, "new"));
}

#[test]
fn a_known_name_changes_at_once() {
    let (follower, _applied, mut view) = follower();
    let mut held = Vec::new();
    follower.take_up(&put(&mut view, 2, "headless default/web\n  ep 10.1.0.1\n"), &mut held);
    assert!(held.is_empty() && !leads(&follower, "10.96.0.1"));
}

#[test]
fn another_address_of_a_known_name_waits_for_the_proxy_and_the_old_one_is_answered_until_then() {
    let (follower, applied, mut view) = follower();
    let mut held = Vec::new();
    follower.take_up(&put(&mut view, 2, "svc default/web 10.96.0.8 http:80/tcp\n"), &mut held);
    assert!(leads(&follower, "10.96.0.1") && !leads(&follower, "10.96.0.8"));
    // And once more, before the proxy came round to it.
    follower.take_up(&put(&mut view, 3, "svc default/web 10.96.0.9 http:80/tcp\n"), &mut held);
    applied.send_replace(Revision(2));
    follower.let_go(&mut held);
    assert!(!leads(&follower, "10.96.0.9"), "the proxy is at revision 2");
    applied.send_replace(Revision(3));
    follower.let_go(&mut held);
    assert!(leads(&follower, "10.96.0.9") && !leads(&follower, "10.96.0.1"));
}

fn leads(follower: &Follower, address: &str) -> bool {
    follower.current.load().with_virtual_ip(address.parse().expect("an address")).count() == 1
}

#[test]
fn a_question_behind_a_change_is_answered_with_it_on_both_paths() {
    let corefile = crate::config::Corefile::parse(". {\n kubernetes cluster.local\n}").expect("a Corefile");
    let (routes, followed) = crate::server::build::routes_to_look_at(&corefile, Arc::default(), false, None);
    let (mut follower, _applied, mut view) = follower();
    follower.current = followed[0].current.clone();
    follower.take_up(&Arc::new(view.clone()), &mut Vec::new());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    for n in 2..50_u8 {
        let before = follower.current.load_full();
        follower.take_up(&put(&mut view, n.into(), &format!("headless default/db\n  ep 10.1.0.{n}\n")), &mut Vec::new());
        assert!(!Arc::ptr_eq(&before, &follower.current.load_full()), "another snapshot");
        let request = crate::plugins::tests::request("db.default.svc.cluster.local. A");
        let slow = runtime.block_on(crate::server::chain::Next::start(&routes).whole(&request));
        let packet = Message { flags: flag::RD, ..Message::answer(request.question.clone(), 0) }.encode(MAX_TCP, None);
        let mut out = [0; 512];
        let (AtOnce::Reply { length, .. }, _) = at_once(&routes, &packet, &mut out, false, 0) else { panic!("the fast path answers") };
        let fast = Message::parse(&out[..length]).expect("a message");
        for answer in [slow, fast] {
            assert_eq!(answer.answers.iter().map(|record| record.data.clone()).collect::<Vec<_>>(), [vec![10, 1, 0, n]]);
        }
    }
}

#[tokio::test]
async fn what_is_known_before_all_is_answered_and_nothing_is_denied() {
    const SERVICE: &str = "ns default\nsvc default/web 10.96.0.1 http:80/tcp\n";
    let corefile = crate::config::Corefile::parse(". {\n kubernetes cluster.local\n}").expect("a Corefile");
    let (routes, mut followed) = crate::server::build::routes_to_look_at(&corefile, Arc::default(), false, None);
    let Followed { mut options, current } = followed.remove(0);
    options.startup_timeout = Duration::ZERO;
    let (names_told, views) = watch::channel(Arc::default());
    let (_early_told, early) = watch::channel(Arc::new(names(SERVICE)));
    let metrics = Metrics::new(&runtime::Registry::default());
    let follower = Follower { options, current, names: views, early: Some(early), applied: None, metrics, ready: None };
    tokio::spawn(follower.run());
    let until = async |question: &str, code: u8| {
        let deadline = Instant::now() + Duration::from_secs(5);
        loop {
            let request = crate::plugins::tests::request(question);
            let answer = crate::server::chain::Next::start(&routes).whole(&request).await;
            if answer.rcode == code {
                return answer.answers.len();
            }
            assert!(Instant::now() < deadline, "{question}: {} in place of {code}", answer.rcode);
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    assert_eq!(until("web.default.svc.cluster.local. A", rcode::NOERROR).await, 1);
    assert_eq!(until("web.default.svc.cluster.local. AAAA", rcode::NOERROR).await, 0);
    until("nobody.default.svc.cluster.local. A", rcode::SERVFAIL).await;
    names_told.send_replace(Arc::new(names(SERVICE)));
    until("nobody.default.svc.cluster.local. A", rcode::NXDOMAIN).await;
}
