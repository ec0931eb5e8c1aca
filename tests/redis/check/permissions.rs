//! What a user may not do, and the rule that would permit it.

use locker_host::{Finding, Status};
use rstest::rstest;

use super::super::refusals::permit;
use super::{KEEPS_ALL, assert_found, check, failures, start, with_login};

#[tokio::test]
async fn a_user_with_the_rule_of_the_documentation_lacks_nothing() {
    let server = start(&KEEPS_ALL).await;
    permit(&server, &[]).await;
    let findings = check(&with_login(&server.url(), "locker:secret")).await;
    assert_eq!(failures(&findings), Vec::<&Finding>::new());
    assert_found(&findings, "permissions", Status::Ok, "the user locker");
    assert_found(&findings, "persistence", Status::Warning, "unknown: the user locker may not read it");
    assert_found(&findings, "hand-off", Status::Ok, "takes");
    permit(&server, &["+config|get"]).await;
    let findings = check(&with_login(&server.url(), "locker:secret")).await;
    assert!(findings.iter().all(|finding| finding.status == Status::Ok), "{findings:#?}");
}

/// Every user may run `HELLO`, and a lock can do without `INFO`.
#[tokio::test]
async fn each_command_of_the_rule_is_missed_by_a_user_without_it() {
    const PAGE: &str = include_str!("../../../docs/stores.md");
    let server = start(&[]).await;
    let rule = PAGE.lines().find(|line| line.starts_with("ACL SETUSER locker")).unwrap();
    let commands = rule.split(' ').filter_map(|word| word.strip_prefix('+'));
    for command in commands.filter(|command| !["hello", "info"].contains(command)) {
        permit(&server, &["reset"]).await;
        permit(&server, &[&format!("-{command}")]).await;
        let findings = check(&with_login(&server.url(), "locker:secret")).await;
        let remedy = format!("ACL SETUSER locker +{command}");
        let is_missed = failures(&findings).iter().any(|finding| finding.remedy.as_ref() == Some(&remedy));
        assert!(is_missed, "{command}: {findings:#?}");
    }
    assert!(server.keys().await.iter().all(|key| key.starts_with("lock:\u{1f}fence{")));
}

#[rstest]
#[case::scripts(&["-evalsha", "-script|load"], "scripts", "ACL SETUSER locker +evalsha +script|load")]
#[case::all_commands(&["nocommands"], "commands", "ACL SETUSER locker +")]
#[case::its_keys(&["resetkeys", "~other:*"], "keys", "ACL SETUSER locker ~lock:*")]
#[case::keys_of_its_own(&["resetkeys", "~lock:[!-~]*"], "keys", "ACL SETUSER locker ~lock:*")]
#[case::keys_of_waiters(&["resetkeys", "~lock:[!-~]*", "~lock:\u{1f}[fqw]*"], "keys", "ACL SETUSER locker ~lock:*")]
#[case::its_channels(&["resetchannels"], "channels", "ACL SETUSER locker &lock:*")]
#[case::channels_of_its_own(&["resetchannels", "&other:*"], "channels", "ACL SETUSER locker &lock:*")]
#[tokio::test]
async fn a_user_who_lacks_permissions_is_told_the_rule(
    #[case] denied: &[&str],
    #[case] subject: &str,
    #[case] rule: &str,
) {
    let server = start(&[]).await;
    permit(&server, denied).await;
    let findings = check(&with_login(&server.url(), "locker:secret")).await;
    assert_found(&findings, subject, Status::Failure, rule);
}

#[tokio::test]
async fn what_a_user_may_not_read_is_unknown_and_no_failure() {
    let server = start(&[]).await;
    permit(&server, &["-info"]).await;
    let findings = check(&with_login(&server.url(), "locker:secret")).await;
    assert_eq!(failures(&findings), Vec::<&Finding>::new());
    for subject in ["eviction", "persistence", "replicas"] {
        assert_found(&findings, subject, Status::Warning, "unknown: the user locker may not read it");
    }
    assert_found(&findings, "version", Status::Ok, "");
}
