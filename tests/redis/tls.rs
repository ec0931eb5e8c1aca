//! Redis over TLS, also as a member of a quorum.

use std::path::Path;
use std::sync::Arc;

use locker_host::{Cache, ErrorKind, Locker, Quorum, QuorumMember, Redis, Status, UnlockOutcome};

use crate::harness::{Cluster, Command, LONG, Ran, Sentinels, Tls, granted, held, until};

#[tokio::test]
async fn a_lock_over_tls_is_a_lock() {
    let tls = Tls::start().await;
    let pem = std::fs::read(tls.authority()).unwrap();
    let locker = Locker::new(Redis::open(&tls.url()).unwrap().root_certificates(pem)).unwrap();
    let lease = granted(locker.lock("job", LONG).await);
    held(tls.plain().locker().lock("job", LONG).await);
    locker.unlock("job", &lease.token).await.unwrap();
}

#[tokio::test]
async fn a_server_of_an_unknown_authority_is_not_trusted() {
    let tls = Tls::start().await;
    let locker = Locker::new(Redis::open(&tls.url()).unwrap()).unwrap();
    let error = locker.lock("job", LONG).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Denied);
    assert!(error.to_string().contains("certificate"), "{error}");
}

#[tokio::test]
async fn a_check_says_whether_the_connection_is_over_tls_and_what_it_lacks() {
    let tls = Tls::start().await;
    let (untrusting, pem) = (Redis::open(&tls.url()).unwrap(), std::fs::read(tls.authority()).unwrap());
    let findings = untrusting.clone().root_certificates(pem).check().await;
    assert!(findings[0].status == Status::Ok && findings[0].found.contains("over TLS"), "{findings:?}");
    let findings = untrusting.check().await;
    assert!(findings[0].remedy.as_ref().is_some_and(|remedy| remedy.contains("--ca FILE")), "{findings:?}");
}

#[tokio::test]
async fn the_command_takes_the_authority_from_a_file() {
    let tls = Tls::start().await;
    let authority = tls.authority();
    let with = |ca: &str| Command::new(&["lock", "job", "--ca", ca]).env("LOCKER_CACHE", &tls.url());
    assert_eq!(with(authority.to_str().unwrap()).run().await.code, Some(0));
    let missing = with("/no/such/file").run().await;
    assert_eq!(missing.code, Some(78));
    assert!(missing.stderr.contains("cannot read /no/such/file"), "{missing:?}");
}

#[tokio::test]
async fn a_server_that_asks_for_a_client_certificate_gets_one() {
    let tls = Tls::start_with("yes").await;
    let (authority, [certificate, key]) = (tls.authority(), tls.certificate());
    let [authority, certificate, key] = [&authority, &certificate, &key].map(|path| path.to_str().unwrap());
    let with = |more: &[&str]| {
        Command::new(&[&["lock", "job", "--ca", authority], more].concat()).env("LOCKER_CACHE", &tls.url())
    };
    let without = with(&[]).run().await;
    assert!(without.code == Some(78) && without.stderr.contains("--cert FILE"), "{without:?}");
    assert_eq!(with(&["--cert", certificate, "--key", key]).run().await.code, Some(0));
}

/// Locks with the command, which trusts the certificates in a file.
async fn lock_with(tls: &Tls, authority: &Path) -> Ran {
    let command = Command::new(&["lock", "job", "--ca", authority.to_str().unwrap()]);
    command.env("LOCKER_CACHE", &tls.url()).run().await
}

#[tokio::test]
async fn a_certificate_that_is_not_accepted_is_refused_with_its_reason() {
    let (name, elsewhere) = ("IP:127.0.0.1", "DNS:elsewhere.example");
    let table = [
        (Tls::start_named(elsewhere, 1).await, "is for another host name"),
        (Tls::start_named(name, -1).await, "has expired"),
        (Tls::start_self_signed(elsewhere, 1).await, "is for another host name"),
        (Tls::start_self_signed(name, -1).await, "has expired"),
    ];
    for (tls, reason) in table {
        let ran = lock_with(&tls, &tls.authority()).await;
        assert!(ran.code == Some(78) && ran.stderr.contains(reason), "{reason}: {ran:?}");
    }
    let tls = Tls::start().await;
    let ran = Command::new(&["lock", "job"]).env("LOCKER_CACHE", &tls.url()).run().await;
    assert!(ran.code == Some(78) && ran.stderr.contains("--ca FILE"), "{ran:?}");
}

#[tokio::test]
async fn a_certificate_that_signs_itself_is_trusted_only_if_it_is_named() {
    let (tls, other) = (Tls::start_self_signed("IP:127.0.0.1", 1).await, Tls::start().await);
    let refused = lock_with(&tls, &other.authority()).await;
    assert!(refused.code == Some(78) && refused.stderr.contains("signs itself"), "{refused:?}");
    let ran = lock_with(&tls, &tls.authority()).await;
    assert_eq!(ran.code, Some(0), "{ran:?}");
    held(tls.plain().locker().lock("job", LONG).await);
}

#[tokio::test]
async fn a_url_that_says_tls_where_there_is_none_or_none_where_there_is_gets_a_hint() {
    let tls = Tls::start().await;
    let with = |url: String| Command::new(&["--timeout", "1s", "lock", "job"]).env("LOCKER_CACHE", &url).run();
    let plain = with(tls.url().replace("rediss:", "redis:")).await;
    assert!(plain.code == Some(69) && plain.stderr.contains("write rediss for redis"), "{plain:?}");
    let encrypted = with(tls.plain().url().replace("redis:", "rediss:")).await;
    assert!(
        encrypted.code == Some(69) && encrypted.stderr.contains("check that this port speaks TLS"),
        "{encrypted:?}"
    );
}

struct Members {
    cluster: Cluster,
    sentinels: Sentinels,
    server: Tls,
}

impl Members {
    /// A cluster, a primary with sentinels, and a server with TLS and a login.
    async fn start() -> Self {
        let (cluster, sentinels, server) = tokio::join!(Cluster::start(), Sentinels::start(), Tls::start());
        () = server.plain().run(&["ACL", "SETUSER", "app", "on", ">secret", "~*", "&*", "+@all"]).await;
        () = server.plain().run(&["ACL", "SETUSER", "default", "-@all", "+ping", "+get", "+exists", "+info"]).await;
        Self { cluster, sentinels, server }
    }

    fn urls(&self) -> [String; 3] {
        let server = self.server.url().replace("://", "://app:secret@");
        [self.cluster.url(), self.sentinels.url(), server]
    }

    fn locker(&self) -> Locker {
        let pem = std::fs::read(self.server.authority()).unwrap();
        let [cluster, sentinels, server] = self.urls().map(|url| Redis::open(&url).unwrap());
        let members = [cluster, sentinels, server.root_certificates(pem)];
        let members = members.map(|member| Arc::new(member) as Arc<dyn QuorumMember>);
        Locker::new(Quorum::new(members.into()).unwrap()).unwrap()
    }
}

#[tokio::test]
async fn a_cluster_sentinels_and_a_server_with_tls_and_a_login_are_a_quorum() {
    let mut members = Members::start().await;
    let locker = members.locker();
    let lease = granted(locker.lock("job", LONG).await);
    until(async || members.server.plain().stored("job").await.is_some()).await;
    until(async || members.sentinels.primary.stored("job").await.is_some()).await;
    members.sentinels.primary.kill();
    held(members.locker().lock("job", LONG).await);
    assert_eq!(locker.unlock("job", &lease.token).await.unwrap(), UnlockOutcome::Released);
    granted(members.locker().lock("job", LONG).await);
}

#[tokio::test]
async fn the_command_takes_urls_with_several_hosts_and_a_login_each() {
    let members = Members::start().await;
    let authority = members.server.authority();
    let locked = Command::new(&["lock", "job", "--ca", authority.to_str().unwrap()])
        .env("LOCKER_CACHE", &members.urls().join(","))
        .run()
        .await;
    assert_eq!(locked.code, Some(0), "{locked:?}");
    held(members.locker().lock("job", LONG).await);
}
