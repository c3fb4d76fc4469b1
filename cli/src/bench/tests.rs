//! The whole generator against a real node in this process.

use clap::Parser;
use outcrop_node::Node;
use outcrop_node::config::{Config, NamespaceOptions};

use super::*;

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    args: BenchArgs,
}

/// A node in memory on a free port, and what is needed to reach it.
struct Fixture {
    node: Node,
    url: String,
    _directory: tempfile::TempDir,
}

impl Fixture {
    async fn start() -> Fixture {
        Fixture::with(Config::dev(None, "test")).await
    }

    async fn with(mut config: Config) -> Fixture {
        config.listen.data = ([127, 0, 0, 1], 0).into();
        config.listen.admin = None;
        config.node.workers = 1;
        let node = Node::start(config).await.expect("a node");
        let directory = tempfile::tempdir().expect("a directory");
        let certificate = directory.path().join("ca.pem");
        std::fs::write(&certificate, node.certificate_pem()).expect("the certificate");
        let url = embedded::with_ca(&format!("outcrop://{}", node.data_addr()), Some(&certificate));
        Fixture { node, url, _directory: directory }
    }

    async fn measure(&self, line: &str) -> (Plan, Vec<PhaseReport>) {
        let words = std::iter::once("bench").chain(line.split_whitespace());
        let plan = Arc::new(Line::try_parse_from(words).expect("options").args.settle().expect("a plan"));
        let phases = measure(&plan, &self.url, true).await.expect(line);
        (Plan::clone(&plan), phases)
    }

    async fn stop(self) {
        self.node.shutdown().await.expect("a clean end");
    }
}

fn row<'a>(phase: &'a PhaseReport, operation: &str) -> &'a report::OperationReport {
    phase.operations.iter().find(|row| row.operation == operation).expect("this operation occurred")
}

#[tokio::test]
async fn every_workload_runs_verified_and_without_a_failure() {
    let fixture = Fixture::start().await;
    let (plan, phases) = fixture
        .measure("--load --records 2000 --value-bytes 100..1000 --in-flight 32 --connections 2 --threads 2")
        .await;
    assert_eq!((row(&phases[0], "insert").ops, phases[0].node.records), (2_000, 2_000));
    assert!(phases[0].node.live_bytes_per_record > 100.0 && judge(&plan, &phases).is_ok());
    for (workload, kinds) in [
        ("a", &["read", "update", "all"][..]),
        ("b", &["read", "update", "all"]),
        ("c", &["read"]),
        ("d", &["read", "insert", "all"]),
        ("e", &["insert", "scan", "all"]),
        ("f", &["read", "rmw", "all"]),
    ] {
        let line = format!(
            "--skip-load --records 2000 --value-bytes 100..1000 --verify --ops 600 --in-flight 8 --connections 2 --workload {workload}"
        );
        let (plan, phases) = fixture.measure(&line).await;
        let run = &phases[0];
        let names: Vec<&str> = run.operations.iter().map(|row| row.operation).collect();
        assert_eq!(names, kinds, "{workload}");
        let all = run.operations.last().expect("rows");
        assert_eq!((all.ops, all.failures), (600, 0), "{workload}: {:?}", run.warnings);
        assert!(all.latency.p50_us > 1.0 && all.bytes > 0 && run.elapsed_secs > 0.0);
        assert!(judge(&plan, &phases).is_ok());
    }
    fixture.stop().await;
}

#[tokio::test]
async fn bins_batches_text_keys_and_large_values() {
    let fixture = Fixture::start().await;
    for line in [
        "--records 300 --bins 5 --read 1 --update 1 --value-bytes 500",
        "--records 300 --bins 5 --read 1 --update 1 --value-bytes 500 --write-all-bins",
        "--records 300 --key-type text --read 1 --batch 20",
        "--records 40 --value-bytes 10:50,70000:25,1MiB:25 --read 1 --update 1 --in-flight 4",
    ] {
        let (plan, phases) = fixture.measure(&format!("{line} --verify --ops 200")).await;
        let run = &phases[1];
        assert_eq!((run.operations.last().expect("rows").ops, run.failures()), (200, 0), "{line}: {run:?}");
        assert!(judge(&plan, &phases).is_ok());
        if plan.batch > 0 {
            assert_eq!(row(run, "batch").records, 200 * 20);
        }
    }
    fixture.stop().await;
}

#[tokio::test]
async fn an_open_loop_keeps_its_rate_and_says_how_late_it_was() {
    let fixture = Fixture::start().await;
    let line = "--records 500 --rate 2k --arrivals poisson --duration 1s --warmup 100ms --connections 2";
    let (_, phases) = fixture.measure(line).await;
    let run = &phases[1];
    let reads = row(run, "read");
    // The number of requests follows from the schedule, not from how fast the machine is.
    assert!((1_700..2_300).contains(&(reads.ops + reads.failures + run.generator.unsent)), "{reads:?}");
    assert!(run.generator.lag.is_some());
    fixture.stop().await;
}

#[tokio::test]
async fn full_scans_see_every_record_and_check_it() {
    let fixture = Fixture::start().await;
    let (plan, phases) = fixture.measure("--records 3000 --scan-all 2 --verify --connections 2").await;
    let scans = row(&phases[1], "scan");
    assert_eq!((scans.records, scans.ops, scans.failures), (6_000, 4, 0), "two passes of two halves");
    assert!(judge(&plan, &phases).is_ok());
    fixture.stop().await;
}

#[tokio::test]
async fn values_of_another_seed_and_missing_records_are_failures() {
    let fixture = Fixture::start().await;
    fixture.measure("--load --records 200 --seed 1").await;
    let (plan, phases) = fixture.measure("--skip-load --records 200 --seed 2 --verify --ops 50").await;
    assert_eq!(phases[0].failures_of(MISMATCH), 50);
    assert!(matches!(judge(&plan, &phases), Err(BenchError::Mismatch(50))));
    let (plan, phases) = fixture.measure("--skip-load --records 200 --set empty --ops 50").await;
    assert_eq!(phases[0].failures_of("not_found"), 50);
    assert!(matches!(judge(&plan, &phases), Err(BenchError::AllFailed(50))));
    let (plan, phases) = fixture.measure("--skip-load --records 400 --ops 500").await;
    assert!(phases[0].failures_of("not_found") > 0);
    assert!(judge(&plan, &phases).is_ok(), "some of the node's own errors are counted, not fatal");
    let (_, phases) = fixture.measure("--skip-load --records 200 --scan-all --seed 2 --verify").await;
    assert_eq!(phases[0].failures_of(MISMATCH), 200);
    fixture.stop().await;
}

#[tokio::test]
async fn a_load_into_a_full_namespace_ends_with_what_to_do() {
    let mut config = Config::dev(None, "test");
    config.namespaces = vec![NamespaceOptions::ram("test", 64 << 20)];
    let fixture = Fixture::with(config).await;
    let (plan, phases) = fixture.measure("--load --records 100k --value-bytes 512KiB --in-flight 8").await;
    assert!(row(&phases[0], "insert").ops > 0 && phases.len() == 1, "the beginning is in");
    let failure = Failure::from(judge(&plan, &phases).expect_err("100,000 times 512 KiB don't fit 64 MiB"));
    assert_eq!((failure.exit, failure.code), (Exit::Partial, Some(Code::StopWrites)));
    assert!(failure.message.contains("namespace test is nearly full"), "{}", failure.message);
    assert!(failure.advice.contains("Delete or let expire"), "{}", failure.advice);
    fixture.stop().await;
}

#[tokio::test]
async fn a_namespace_that_isnt_there_is_said() {
    let fixture = Fixture::start().await;
    let line = Line::try_parse_from(["bench", "--namespace", "nope", "--url", &fixture.url, "-q"]).expect("options");
    let failure = Failure::from(run(line.args).await.expect_err("no such namespace"));
    assert_eq!(failure.exit, crate::failure::Exit::Usage);
    assert!(failure.message.contains("nope") && failure.message.contains("test"), "{}", failure.message);
    fixture.stop().await;
}

#[tokio::test]
async fn a_node_that_goes_away_is_reported_and_the_run_ends() {
    let fixture = Fixture::start().await;
    fixture.measure("--load --records 200").await;
    let words = "bench --skip-load --records 200 --duration 1s --warmup 0 --in-flight 4 --rate 500";
    let plan =
        Arc::new(Line::try_parse_from(words.split_whitespace()).expect("options").args.settle().expect("a plan"));
    let Fixture { node, url, _directory } = fixture;
    let clock = Clock::start();
    let mut workers = Workers::start(&plan, &url, clock).await.expect("connections");
    let begin_ns = clock.now_ns();
    let stop_at_ns = begin_ns + 1_000_000_000;
    let bounds =
        Bounds { measure_from_ns: begin_ns, stop_at_ns, drain_until_ns: stop_at_ns + 500_000_000, ops_max: None };
    let Work::Operations(mix) = plan.work.clone() else { panic!("operations") };
    let mut all = Tallies::default();
    let phase = Phase::Operations { mix, start_ns: begin_ns, bounds };
    let playing = workers.play(&phase, |slice| {
        all.measured.add(&slice.measured);
        all.last_loss = slice.last_loss.or(all.last_loss.take());
    });
    let ending = async {
        tokio::time::sleep(std::time::Duration::from_millis(400)).await;
        node.shutdown().await
    };
    let (played, _) = tokio::join!(playing, ending);
    played.expect("the run ends by itself");
    workers.stop().await;
    assert!(all.measured.done() > 0 && all.last_loss.is_some());
    let told = all.measured.done() + all.measured.failures() + all.measured.unsent;
    assert!((495..=505).contains(&told), "every request of the schedule is accounted for: {told}");
}
