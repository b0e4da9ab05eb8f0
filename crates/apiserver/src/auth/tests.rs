use super::*;
use crate::testing::Folder;

#[test]
fn a_token_says_whose_it_is_and_nothing_else_passes() {
    let folder = Folder::new("tokens");
    let tokens = Tokens::open(folder.path(), "https://issuer".to_owned()).expect("a key");
    let bound = Bound { kind: "pod".to_owned(), name: "p".to_owned(), uid: "1".to_owned() };
    let audience = ["https://issuer".to_owned()];
    let token = tokens.issue("ns", "default", "uid", Some(&bound), &audience, 600);
    let claims = Claims { namespace: "ns".to_owned(), account: "default".to_owned(), account_uid: "uid".to_owned(), bound: Some(bound) };
    assert_eq!(tokens.verify(&token), Some(claims));

    let again = Tokens::open(folder.path(), "https://issuer".to_owned()).expect("the same key");
    assert!(again.verify(&token).is_some(), "tokens outlive the process");
    let other_folder = Folder::new("other-tokens");
    let other = Tokens::open(other_folder.path(), "https://issuer".to_owned()).expect("a key");
    assert_eq!(other.verify(&token), None, "another key");
    assert_eq!(tokens.verify(&tokens.issue("ns", "a", "u", None, &audience, -1)), None, "over");
    assert_eq!(tokens.verify(&tokens.issue("ns", "a", "u", None, &["elsewhere".to_owned()], 600)), None, "meant for somebody else");
    for broken in ["", ".", "a.b.c", &token[1..], &token[..token.len() - 2], &format!("{token}.")] {
        assert_eq!(tokens.verify(broken), None, "{broken}");
    }
}

#[test]
fn the_key_of_tokens_is_kept_in_pem() {
    let folder = Folder::new("pem");
    let path = folder.path().join("service-account.key");
    let open = || Tokens::open(folder.path(), "https://issuer".to_owned()).expect("a key");
    let token = open().issue("ns", "a", "u", None, &["https://issuer".to_owned()], 600);
    let text = std::fs::read_to_string(&path).expect("text");
    assert!(text.starts_with("-----BEGIN PRIVATE KEY-----\n") && text.lines().all(|line| line.len() <= 64), "{text}");

    // As written by older versions.
    use rustls::pki_types::pem::PemObject as _;
    let der = rustls::pki_types::PrivatePkcs8KeyDer::from_pem_slice(text.as_bytes()).expect("PEM");
    std::fs::write(&path, der.secret_pkcs8_der()).expect("written");
    assert!(open().verify(&token).is_some(), "the same key");
    assert_eq!(std::fs::read_to_string(&path).expect("text"), text, "rewritten");
}

#[test]
fn a_client_certificate_names_its_user_and_groups() {
    let folder = Folder::new("pki");
    let authority = Authority::open(folder.path()).expect("an authority");
    let client = authority.client("kubernetes-admin", "system:masters").expect("a certificate");
    use rustls::pki_types::pem::PemObject as _;
    let der = rustls::pki_types::CertificateDer::from_pem_slice(client.certificate.as_bytes()).expect("PEM");
    let user = user_of_certificate(&der).expect("a user");
    assert_eq!(
        (user.name.as_str(), user.groups),
        ("kubernetes-admin", vec!["system:masters".to_owned(), "system:authenticated".to_owned()])
    );
    assert_eq!(user_of_certificate(&der[..der.len() / 2]), None);
    assert_eq!(Authority::open(folder.path()).expect("the same").pem, authority.pem);
}
