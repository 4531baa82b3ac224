//! `tollgate table`.

use super::create;
use crate::support::database::TestDatabase;
use crate::support::program::{run_command, tollgate_on};
use crate::support::service::{Caller, Node};

#[tokio::test(flavor = "multi_thread")]
async fn versions_are_imported_exported_compared_and_rolled_back() {
    let database = TestDatabase::create().await;
    let node = Node::start(&database).await;
    let caller = Caller::of_new_tenant(&node, "acme").await;
    create(&caller, "rates", "exact", "text").await;
    let folder = tempfile::tempdir().unwrap();
    let run = |arguments: &[&str]| {
        let mut command =
            tollgate_on(&database, &["table", arguments[0], "--tenant", "acme", "--table", "rates"]);
        command.args(&arguments[1..]);
        run_command(command)
    };
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let first = file("first.csv", "rate,key,issuer\n1.5,EUR,\n2,USD,b\n");
    let second = file("second.jsonl", "{\"key\": \"EUR\", \"rate\": 1.25}\n{\"key\": \"GBP\"}\n");
    for (number, path) in [(1, &first), (2, &second)] {
        let (status, stdout, log) = run(&["import", "--note", "n", path]);
        assert!(status.success(), "{log}");
        assert!(stdout.contains(&format!("version {number}: 2 rows, valid from ")), "{stdout}");
    }
    let (status, stdout, log) = run(&["export", "--version", "1"]);
    assert!(status.success(), "{log}");
    assert_eq!(stdout, "key,issuer,rate\nEUR,,1.5\nUSD,b,2\n");
    let (_, stdout, _) = run(&["export", "--version", "2", "--format", "jsonl"]);
    assert_eq!(stdout, "{\"key\":\"EUR\",\"rate\":1.25}\n{\"key\":\"GBP\"}\n");
    let (status, stdout, log) = run(&["diff", "1", "2"]);
    assert!(status.success() && log.contains("1 added, 1 removed, 1 changed"), "{log}");
    assert_eq!(
        stdout,
        "- {\"key\":\"EUR\",\"rate\":1.5}\n+ {\"key\":\"EUR\",\"rate\":1.25}\n+ {\"key\":\"GBP\"}\n\
         - {\"key\":\"USD\",\"issuer\":\"b\",\"rate\":2}\n"
    );
    let (status, stdout, log) = run(&["roll-back"]);
    assert!(status.success() && stdout.contains("version 1: valid from "), "{stdout} {log}");
    let (_, table) = caller.get("/tables/rates").await;
    assert_eq!(table["activation"]["version"], 1, "{table}");
    assert_eq!(table["activation"]["activated_by"], "command line");

    let bad = file("bad.csv", "key,issuer,rate\n,a,1\nEUR,a,x\n");
    let (status, stdout, log) = run(&["import", &bad]);
    assert!(!status.success() && stdout.contains("Nothing was stored. Lines with errors: 2."), "{stdout}");
    assert!(log.contains("line 2: key: ") && log.contains("line 3: rate: "), "{log}");
    for (arguments, why) in [
        (&["export", "--version", "9"][..], "has no version 9"),
        (&["import", "/nowhere.csv"], "/nowhere.csv: "),
        (&["roll-back"], "no version before"),
    ] {
        let (status, _, log) = run(arguments);
        assert!(!status.success() && log.contains(why), "{arguments:?}: {log}");
    }
    node.stop().await;
}
