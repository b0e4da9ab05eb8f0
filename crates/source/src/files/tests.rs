use std::os::unix::fs::symlink;
use std::sync::atomic::{AtomicU32, Ordering};

use model::name::NamedKind;
use model::{Issues, NameView};
use runtime::{Readiness, Registry, Trigger, drain};

use super::*;
use crate::{Origin, Running};

/// A folder of objects that is followed.
struct World {
    folder: PathBuf,
    running: Running,
    trigger: Trigger,
}

static N_FOLDERS: AtomicU32 = AtomicU32::new(0);

fn new_folder() -> PathBuf {
    let n = N_FOLDERS.fetch_add(1, Ordering::Relaxed);
    let folder = std::env::temp_dir().join(format!("rutter-files-{}-{n}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder");
    folder
}

async fn follow(path: &Path) -> (Running, Trigger) {
    let (trigger, drain) = drain::channel();
    let readiness = Readiness::default();
    let want = Want { packets: true, names: true, routes: true };
    let config = model::Config { node_name: "a".into(), want, ..model::Config::default() };
    let running = crate::start(config, Origin::Files(path.into()), readiness.register("objects"), drain, &Registry::default()).await;
    let running = running.expect("the objects can be read");
    readiness.wait().await;
    (running, trigger)
}

impl World {
    /// Follows a folder that holds `files` from the start.
    async fn of(files: &[(&str, &str)]) -> World {
        let folder = new_folder();
        for (name, text) in files {
            std::fs::write(folder.join(name), text).expect("written");
        }
        let (running, trigger) = follow(&folder).await;
        World { folder, running, trigger }
    }

    /// Replaces a file as an editor or a deployment does: by rename.
    fn put(&self, name: &str, text: &str) {
        let draft = self.folder.join(format!(".{name}.draft"));
        std::fs::write(&draft, text).expect("written");
        std::fs::rename(draft, self.folder.join(name)).expect("renamed");
    }

    fn delete(&self, name: &str) {
        std::fs::remove_file(self.folder.join(name)).expect("deleted");
    }

    /// Waits until the Services, with their endpoints, and the issues are these.
    async fn shows(&mut self, expected: &[&str]) {
        let mut shown = Vec::new();
        let reached = tokio::time::timeout(Duration::from_secs(5), async {
            loop {
                let names = self.running.names.borrow_and_update().clone();
                let issues = self.running.issues.borrow_and_update().clone();
                shown = lines(&names, &issues, &self.folder);
                if shown == expected {
                    return;
                }
                tokio::select! {
                    changed = self.running.names.changed() => changed.expect("the task runs"),
                    changed = self.running.issues.changed() => changed.expect("the task runs"),
                }
            }
        });
        if reached.await.is_err() {
            panic!("expected {expected:#?}\nfound {shown:#?}");
        }
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.trigger.start();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

fn lines(names: &NameView, issues: &Issues, folder: &Path) -> Vec<String> {
    let mut lines: Vec<_> = names
        .services
        .iter()
        .map(|(name, service)| {
            let kind = match &service.kind {
                NamedKind::ClusterIp(ips) => ips.iter().map(ToString::to_string).collect::<Vec<_>>().join(","),
                NamedKind::Headless => "headless".to_owned(),
                NamedKind::ExternalName(host) => host.to_string(),
            };
            let endpoints: Vec<_> = service.endpoints().map(|endpoint| endpoint.address.to_string()).collect();
            format!("{name} {kind} [{}]", endpoints.join(" "))
        })
        .collect();
    lines.sort();
    let short = |text: &str| text.replace(&format!("{}/", folder.display()), "");
    lines.extend(issues.iter().map(|(object, issue)| short(&format!("{object} {issue}"))));
    lines
}

fn service(name: &str, ip: &str) -> String {
    format!("apiVersion: v1\nkind: Service\nmetadata: {{name: {name}}}\nspec: {{clusterIP: {ip}, ports: [{{port: 80}}]}}\n---\n")
}

fn slice(service: &str, ip: &str) -> String {
    format!(
        "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {{name: {service}-1, labels: {{kubernetes.io/service-name: {service}}}}}\n\
         addressType: IPv4\nports: [{{port: 8080}}]\nendpoints: [{{addresses: [{ip}]}}]\n---\n"
    )
}

fn endpoints(service: &str, ip: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Endpoints\nmetadata: {{name: {service}}}\nsubsets: [{{addresses: [{{ip: {ip}}}], ports: [{{port: 8080}}]}}]\n---\n"
    )
}

#[tokio::test]
async fn a_file_that_is_replaced_added_or_deleted_is_taken_up() {
    let mut world = World::of(&[("a.yaml", &(service("web", "10.96.0.1") + &slice("web", "10.0.0.1"))), ("notes.txt", "no objects")]).await;
    world.shows(&["default/web 10.96.0.1 [10.0.0.1]"]).await;
    world.put("a.yaml", &(service("web", "10.96.0.1") + &slice("web", "10.0.0.2")));
    world.shows(&["default/web 10.96.0.1 [10.0.0.2]"]).await;
    world.put("b.json", r#"{"apiVersion":"v1","kind":"Service","metadata":{"name":"api"},"spec":{"clusterIP":"10.96.0.2"}}"#);
    world.shows(&["default/api 10.96.0.2 []", "default/web 10.96.0.1 [10.0.0.2]"]).await;
    world.delete("a.yaml");
    world.shows(&["default/api 10.96.0.2 []"]).await;
}

#[tokio::test]
async fn a_file_is_read_when_its_writer_closes_it() {
    use std::io::Write as _;
    let mut world = World::of(&[("a.yaml", &service("web", "10.96.0.1"))]).await;
    world.shows(&["default/web 10.96.0.1 []"]).await;
    // Truncated, and not closed: nothing is lost meanwhile, as the other file's change proves.
    let mut file = std::fs::File::create(world.folder.join("a.yaml")).expect("a file");
    world.put("b.yaml", &service("api", "10.96.0.2"));
    world.shows(&["default/api 10.96.0.2 []", "default/web 10.96.0.1 []"]).await;
    file.write_all(service("web", "10.96.0.3").as_bytes()).expect("written");
    drop(file);
    world.shows(&["default/api 10.96.0.2 []", "default/web 10.96.0.3 []"]).await;
}

#[tokio::test]
async fn a_file_that_does_not_parse_keeps_what_it_gave_and_the_others_go_on() {
    let mut world = World::of(&[("a.yaml", &(service("web", "10.96.0.1") + &service("api", "10.96.0.2")))]).await;
    world.shows(&["default/api 10.96.0.2 []", "default/web 10.96.0.1 []"]).await;
    world.put("a.yaml", &("a: [1\n---\n".to_owned() + &service("api", "10.96.0.9")));
    let told = "File a.yaml document 1 (line 1): unclosed bracket '[' at line 1, column 4; what the file gave before stays (Undecodable)";
    world.shows(&["default/api 10.96.0.9 []", "default/web 10.96.0.1 []", told]).await;
    world.put("b.yaml", &service("db", "10.96.0.3"));
    world.shows(&["default/api 10.96.0.9 []", "default/db 10.96.0.3 []", "default/web 10.96.0.1 []", told]).await;
    world.put("a.yaml", &service("api", "10.96.0.9"));
    world.shows(&["default/api 10.96.0.9 []", "default/db 10.96.0.3 []"]).await;
}

#[tokio::test]
async fn a_file_that_is_broken_from_the_start_holds_up_nobody() {
    let mut world = World::of(&[("a.json", "{\"apiVersion\":"), ("b.yaml", &service("web", "10.96.0.1"))]).await;
    let told =
        "File a.json document 1 (line 1): EOF while parsing a value at line 1 column 14; what the file gave before stays (Undecodable)";
    world.shows(&["default/web 10.96.0.1 []", told]).await;
}

#[tokio::test]
async fn an_object_that_cannot_be_read_stays_as_it_was_and_is_told() {
    let mut world = World::of(&[("a.yaml", &(service("web", "10.96.0.1") + &service("api", "10.96.0.2")))]).await;
    let broken = "apiVersion: v1\nkind: Service\nmetadata: {name: web}\nspec: {ports: [{port: eighty}]}\n";
    world.put("a.yaml", broken);
    let told = "Service default/web spec.ports[0].port: invalid type: string \"eighty\", expected i32 (a.yaml, document 1 (line 1)); \
                as it was last readable, the object stays (Undecodable)";
    world.shows(&["default/web 10.96.0.1 []", told]).await;
    world.put("a.yaml", &service("web", "10.96.0.7"));
    world.shows(&["default/web 10.96.0.7 []"]).await;
    world.put("a.yaml", broken);
    world.shows(&["default/web 10.96.0.7 []", told]).await;
    world.put("a.yaml", "");
    world.shows(&[]).await;
}

#[tokio::test]
async fn an_issue_points_where_the_entry_is_written_though_one_before_it_is_left_out() {
    let service = "apiVersion: v1\nkind: Service\nmetadata: {name: web}\nspec:\n  clusterIP: 10.96.0.1\n  \
                   ports: [{name: a, port: 99999}, {name: b, port: 80}]\n---\n";
    let slice = "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\naddressType: IPv4\n\
                 metadata: {name: web-1, labels: {kubernetes.io/service-name: web}}\nports: [{name: c, port: 80}]\n\
                 endpoints: [{addresses: []}, {addresses: ['fd00::1']}]\n";
    let mut world = World::of(&[("a.yaml", &(service.to_owned() + slice))]).await;
    let told = [
        "default/web 10.96.0.1 []",
        "Service default/web spec.ports[0].port: 99999 is no port from 1 to 65535 (InvalidValue)",
        "Service default/web spec.ports[1].name: no EndpointSlice of this Service has a TCP port named \"b\" (NoSuchPort)",
        "EndpointSlice default/web-1 endpoints[0].addresses: has no address (InvalidValue)",
        "EndpointSlice default/web-1 endpoints[1].addresses[0]: fd00::1 is no IPv4 address; the endpoint is left out (WrongFamily)",
    ];
    world.shows(&told).await;
}

#[tokio::test]
async fn an_object_in_two_files_is_the_later_ones_by_name_and_told() {
    let mut world = World::of(&[("b.yaml", &service("web", "10.96.0.2"))]).await;
    world.put("a.yaml", &service("web", "10.96.0.1"));
    let told = "Service default/web metadata.name: stands in a.yaml as well; b.yaml holds, since its path comes last (Conflict)";
    world.shows(&["default/web 10.96.0.2 []", told]).await;
    world.put("c.yaml", &service("web", "10.96.0.3"));
    let told = "Service default/web metadata.name: stands in a.yaml and b.yaml as well; c.yaml holds, since its path comes last (Conflict)";
    world.shows(&["default/web 10.96.0.3 []", told]).await;
    world.delete("b.yaml");
    world.delete("c.yaml");
    world.shows(&["default/web 10.96.0.1 []"]).await;
}

#[tokio::test]
async fn an_object_twice_in_one_file_is_the_last_one_and_told() {
    let mut world = World::of(&[("a.yaml", &(service("web", "10.96.0.1") + &service("web", "10.96.0.2")))]).await;
    let told = "Service default/web metadata.name: stands more than once in a.yaml; the last one holds (Conflict)";
    world.shows(&["default/web 10.96.0.2 []", told]).await;
    world.put("a.yaml", &service("web", "10.96.0.1"));
    world.shows(&["default/web 10.96.0.1 []"]).await;
}

#[tokio::test]
async fn a_mounted_config_map_is_swapped_as_a_whole() {
    let folder = new_folder();
    let version = |name: &str, ip: &str| {
        let version = folder.join(name);
        std::fs::create_dir(&version).expect("a folder");
        std::fs::write(version.join("web.yaml"), service("web", ip)).expect("written");
    };
    version("..2026_1", "10.96.0.1");
    symlink("..2026_1", folder.join("..data")).expect("a link");
    symlink("..data/web.yaml", folder.join("web.yaml")).expect("a link");
    let (running, trigger) = follow(&folder).await;
    let mut world = World { folder: folder.clone(), running, trigger };
    world.shows(&["default/web 10.96.0.1 []"]).await;
    version("..2026_2", "10.96.0.2");
    symlink("..2026_2", folder.join("..data_tmp")).expect("a link");
    std::fs::rename(folder.join("..data_tmp"), folder.join("..data")).expect("renamed");
    std::fs::remove_dir_all(folder.join("..2026_1")).expect("deleted");
    world.shows(&["default/web 10.96.0.2 []"]).await;
}

#[tokio::test]
async fn a_single_file_may_be_replaced_deleted_and_come_back() {
    let folder = new_folder();
    std::fs::write(folder.join("objects"), service("web", "10.96.0.1")).expect("written");
    std::fs::write(folder.join("other.yaml"), service("other", "10.96.0.9")).expect("written");
    let (running, trigger) = follow(&folder.join("objects")).await;
    let mut world = World { folder, running, trigger };
    world.shows(&["default/web 10.96.0.1 []"]).await;
    world.put("objects", &service("web", "10.96.0.2"));
    world.shows(&["default/web 10.96.0.2 []"]).await;
    world.delete("objects");
    world.shows(&[]).await;
    world.put("objects", &service("web", "10.96.0.3"));
    world.shows(&["default/web 10.96.0.3 []"]).await;
}

#[tokio::test]
async fn a_path_that_is_not_there_is_told_at_once() {
    let folder = new_folder();
    let path = folder.join("missing.yaml");
    let (_trigger, drain) = drain::channel();
    let readiness = Readiness::default();
    let config = model::Config::default();
    let origin = Origin::Files(path.clone());
    let started = crate::start(config, origin, readiness.register("objects"), drain, &Registry::default()).await;
    let error = started.err().expect("an error").to_string();
    assert_eq!(error, format!("--objects {}: No such file or directory (os error 2)", path.display()));
    std::fs::remove_dir_all(folder).expect("deleted");
}

#[tokio::test]
async fn endpoints_count_where_no_slice_does() {
    let mut world = World::of(&[("a.yaml", &(service("web", "10.96.0.1") + &endpoints("web", "10.0.0.1")))]).await;
    world.shows(&["default/web 10.96.0.1 [10.0.0.1]"]).await;
    world.put("b.yaml", &slice("web", "10.0.0.2"));
    world.shows(&["default/web 10.96.0.1 [10.0.0.2]"]).await;
    world.delete("b.yaml");
    world.shows(&["default/web 10.96.0.1 [10.0.0.1]"]).await;
    world.put("a.yaml", &(service("web", "10.96.0.1") + &endpoints("web", "10.0.0.3")));
    world.shows(&["default/web 10.96.0.1 [10.0.0.3]"]).await;
    world.put("a.yaml", &service("web", "10.96.0.1"));
    world.shows(&["default/web 10.96.0.1 []"]).await;
}

#[tokio::test]
async fn an_ingress_without_a_class_is_given_the_default_one() {
    let class = |is_default: bool| {
        format!(
            "apiVersion: networking.k8s.io/v1\nkind: IngressClass\nmetadata: {{name: nginx, annotations: \
             {{ingressclass.kubernetes.io/is-default-class: \"{is_default}\"}}}}\nspec: {{controller: k8s.io/ingress-nginx}}\n"
        )
    };
    let ingress = "apiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata: {name: web}\nspec: {rules: [{host: a.example, http: {paths: \
                   [{path: /, pathType: Prefix, backend: {service: {name: web, port: {number: 80}}}}]}}]}\n";
    let mut world = World::of(&[("class.yaml", &class(true)), ("ingress.yaml", ingress)]).await;
    let n_hosts = |world: &World| world.running.routes.borrow().hosts.len();
    assert_eq!(n_hosts(&world), 1);
    world.put("class.yaml", &class(false));
    let without = world.running.routes.wait_for(|routes| routes.hosts.is_empty());
    drop(tokio::time::timeout(Duration::from_secs(5), without).await.expect("no default class any more").expect("the task runs"));
    world.put("class.yaml", &class(true));
    let with = world.running.routes.wait_for(|routes| routes.hosts.len() == 1);
    drop(tokio::time::timeout(Duration::from_secs(5), with).await.expect("a default class again").expect("the task runs"));
}

/// What a round of reading tells, and of how many objects.
fn n_told(contents: &mut Contents, text: &str) -> usize {
    let mut told = Vec::new();
    contents.put(Path::new("objects.json"), text.as_bytes(), &mut told);
    contents.settle(&mut told);
    told.iter().filter(|change| !matches!(change, Change::Issues(..))).count()
}

#[test]
fn only_what_changed_in_a_long_list_is_lowered() {
    let list = |changed_ip: &str| {
        let item = |n: usize| {
            let ip = if n == 700 { changed_ip } else { "10.96.0.1" };
            format!(r#"{{"apiVersion":"v1","kind":"Service","metadata":{{"name":"s{n}"}},"spec":{{"clusterIP":"{ip}"}}}}"#)
        };
        format!(r#"{{"apiVersion":"v1","kind":"List","items":[{}]}}"#, (0..1000).map(item).collect::<Vec<_>>().join(","))
    };
    let mut contents = Contents::new(Want { packets: true, ..Want::default() });
    assert_eq!(n_told(&mut contents, &list("10.96.0.1")), 1000);
    assert_eq!(n_told(&mut contents, &list("10.96.0.1")), 0);
    assert_eq!(n_told(&mut contents, &list("10.96.0.2")), 1);
}

#[test]
fn what_a_command_does_not_read_is_left_alone() {
    let secret = r#"{"apiVersion":"v1","kind":"Secret","metadata":{"name":"s"},"stringData":{"a":"b"}}"#;
    assert_eq!(n_told(&mut Contents::new(Want { packets: true, ..Want::default() }), secret), 0);
    assert_eq!(n_told(&mut Contents::new(Want { routes: true, ..Want::default() }), secret), 1);
}

#[test]
fn reading_a_broken_file_again_forgets_nothing() {
    let mut contents = Contents::new(Want { names: true, ..Want::default() });
    assert_eq!(n_told(&mut contents, &(service("web", "10.96.0.1") + &service("api", "10.96.0.2"))), 2);
    let broken = "a: [1\n---\n".to_owned() + &service("api", "10.96.0.2");
    for _ in 0..3 {
        assert_eq!(n_told(&mut contents, &broken), 0);
    }
    assert_eq!(n_told(&mut contents, &service("api", "10.96.0.2")), 1);
}
