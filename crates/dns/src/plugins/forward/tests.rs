use super::*;

#[test]
fn a_resolv_conf_names_servers_and_never_ourselves() {
    let text = "# comment\nsearch a b\nnameserver 127.0.0.1\nnameserver 10.0.0.2\nnameserver fd00::2\nnameserver fe80::1%eth0\n";
    let everywhere = ["0.0.0.0:53".parse().expect("address")];
    let shown = |ours: &[SocketAddr]| upstream::nameservers(text, ours).iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(shown(&everywhere), ["10.0.0.2:53", "[fd00::2]:53"]);
    assert_eq!(shown(&[]), ["127.0.0.1:53", "10.0.0.2:53", "[fd00::2]:53"]);
    assert_eq!(shown(&["10.0.0.2:53".parse().expect("address")]), ["127.0.0.1:53", "[fd00::2]:53"]);
    let ours = crate::server::build::with_local(&everywhere, &["10.0.0.2", "fd00::2"].map(|ip| ip.parse().expect("address")));
    assert_eq!(shown(&ours), ["[fd00::2]:53"], "this machine's own address, on a listener for all of its family");
}

#[test]
fn equal_questions_at_once_are_asked_once() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let flights = Arc::new(Flights::default());
        let asked = Arc::new(AtomicUsize::new(0));
        let (go, gate) = tokio::sync::watch::channel(false);
        let ask = |text: &str| {
            let question = crate::wire::message::Question {
                name: crate::name::Name::parse(text).expect("a name"),
                qtype: 1,
                qclass: crate::wire::CLASS_IN,
            };
            let client = "10.0.0.1:4000".parse().expect("address");
            let request = Request::of(question, client);
            let (flights, asked, gate) = (flights.clone(), asked.clone(), gate.clone());
            tokio::spawn(async move {
                let answer = flights.join(&request, || {
                    asked.fetch_add(1, Ordering::Relaxed);
                    let mut gate = gate.clone();
                    let answer = request.failed(rcode::NXDOMAIN);
                    async move {
                        let _ = gate.wait_for(|open| *open).await;
                        answer
                    }
                });
                answer.await.rcode
            })
        };
        let tasks = [ask("a.example."), ask("A.EXAMPLE."), ask("a.example."), ask("b.example.")];
        // Every task has asked or waits once the scheduler comes back here.
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
        go.send_replace(true);
        for task in tasks {
            assert_eq!(task.await.expect("no panic"), rcode::NXDOMAIN);
        }
        assert_eq!(asked.load(Ordering::Relaxed), 2);
    });
}

#[test]
fn names_at_random_that_nobody_answers_are_bounded_and_leave_nothing() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let silent = std::net::UdpSocket::bind("127.0.0.1:0").expect("a port");
        let directive = format!("forward . {} {{\n max_concurrent 100\n}}", silent.local_addr().expect("bound"));
        let crate::plugins::Spec::Forward(options) = crate::plugins::tests::spec(&directive) else { panic!("not forward") };
        let forward = Arc::new(Forward::new(options, &[], None, Metrics::new(&runtime::Registry::default())));
        let mut asking = Vec::new();
        for n in 0..1_000 {
            let (forward, request) = (forward.clone(), crate::plugins::tests::request(&format!("n{n}.example. A")));
            asking.push(tokio::spawn(async move { forward.answer(&request, Next::of(&[])).await.rcode }));
        }
        let mut refused = 0;
        // Those beyond the limit are told so at once; they come behind the others.
        for task in asking.split_off(100) {
            refused += usize::from(task.await.expect("no panic") == rcode::REFUSED);
        }
        assert_eq!((refused, forward.flights.len(), forward.free.available_permits()), (900, 100, 0));
        for task in asking {
            task.abort();
            let _ = task.await;
        }
        assert_eq!((forward.flights.len(), forward.free.available_permits()), (0, 100));
    });
}
