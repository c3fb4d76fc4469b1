//! A namespace on a memory device that is driven as a lane drives it: bytes in, bytes out, no reply before what it
//! rests on is durable; with restarts, crashes and a clock that stands still until it is moved.

#![allow(dead_code)] // each test uses its part

pub mod check;
pub mod records;
pub mod request;
pub mod steps;
pub mod stream;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use outcrop_flash::device::memory::MemoryDevice;
use outcrop_flash::log::{CheckpointOutcome, DATA_START, HEADER_BYTES, Log, LogOptions, SEGMENTS_OFFSET};
use outcrop_node::command::answer::Wait;
use outcrop_node::command::{Context, Step, execute};
use outcrop_node::server::waiting::undurable;
use outcrop_node::store::open::{Opened, Tasks};
use outcrop_node::store::{Namespace, Policy};
use outcrop_node::telemetry::{NodeStats, StatsSource};
use outcrop_node::world::{Clock, ManualClock};
use outcrop_wire::reply::encode_error;
use outcrop_wire::request::{encode_request, peek_header};
use outcrop_wire::{Code, NamespaceId, Reply, ReplyHeader, RequestBody, RequestHeader, Verb};

/// When the clocks of all tests begin: 2026-11-14 or so.
pub const START_MS: u64 = 1_794_600_000_000;

/// How a rig is made.
#[derive(Clone)]
pub struct Settings {
    pub segments: u64,
    pub segment_bytes: usize,
    pub seed: u64,
    pub policy: Policy,
    /// Milliseconds that a request gets which names no deadline.
    pub deadline_ms: u32,
}

impl Settings {
    /// Small segments, so that few bytes make many of them; synced writes; no eviction, no checkpoints by the clock.
    pub fn new() -> Self {
        let policy = Policy {
            cache_bytes: 2 << 20,
            high_water_percent: 0,
            defrag_bytes_per_sec: 1 << 30,
            checkpoint_secs: 0,
            ..Policy::flash("test", "", 0)
        };
        Settings { segments: 24, segment_bytes: 256 << 10, seed: 1, policy, deadline_ms: 10_000 }
    }

    pub fn with(self, change: impl FnOnce(&mut Policy)) -> Self {
        let mut settings = self;
        change(&mut settings.policy);
        settings
    }

    /// A blank device with a log of this shape on it.
    pub async fn device(&self) -> MemoryDevice {
        let bytes = SEGMENTS_OFFSET + self.segments * self.segment_bytes as u64;
        let device = MemoryDevice::new(bytes, self.seed);
        let options = LogOptions { segment_bytes: self.segment_bytes, ..LogOptions::default() };
        let device_of_log = Arc::new(device.clone());
        Log::create(device_of_log, *b"the tests' log\0\0", options).await.expect("the device is blank");
        device
    }
}

/// The statistics of one namespace, as the node gathers them.
struct Stats(Arc<Namespace>);

impl StatsSource for Stats {
    fn snapshot(&self) -> NodeStats {
        NodeStats { namespaces: vec![self.0.stats()], ..NodeStats::default() }
    }

    fn trouble(&self) -> Option<String> {
        self.0.log.poisoned()
    }
}

/// One answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    pub header: ReplyHeader,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn code(&self) -> Code {
        self.header.code
    }

    /// The answer, which must be a success.
    #[track_caller]
    pub fn ok(self) -> Self {
        assert_eq!(self.code(), Code::Ok, "{}", String::from_utf8_lossy(&self.body));
        self
    }

    /// The answers of a batch.
    pub fn items(&self) -> Vec<Answer> {
        let reply = Reply { header: self.header, body: &self.body };
        let items = reply.batch_items().expect("a batch's reply");
        items.iter().map(|item| Answer { header: item.header, body: item.body.to_vec() }).collect()
    }
}

/// A namespace on its device, with what drives it.
pub struct Rig {
    pub settings: Settings,
    pub device: MemoryDevice,
    pub clock: Arc<ManualClock>,
    pub context: Arc<Context>,
    pub opened: Report,
    tasks: Option<Tasks>,
}

/// What opening found.
pub struct Report {
    pub log: outcrop_flash::log::OpenReport,
    pub replay: outcrop_node::store::replay::ReplayCounts,
}

impl Rig {
    pub async fn new(settings: Settings) -> Rig {
        let device = settings.device().await;
        Self::open(settings, device, Arc::new(ManualClock::new(START_MS))).await
    }

    pub async fn open(settings: Settings, device: MemoryDevice, clock: Arc<ManualClock>) -> Rig {
        let Opened { namespace, report, replay } =
            Namespace::open_on(NamespaceId(0), settings.policy.clone(), Arc::new(device.clone()), clock.clone())
                .await
                .expect("the device holds a log");
        let tasks = Some(namespace.start());
        let stats = Arc::new(Stats(namespace.clone()));
        let context = Arc::new(Context::new(vec![namespace], settings.deadline_ms, 64 << 20, stats));
        Rig { settings, device, clock, context, opened: Report { log: report, replay }, tasks }
    }

    pub fn namespace(&self) -> &Arc<Namespace> {
        &self.context.namespaces[0]
    }

    pub fn now_secs(&self) -> u32 {
        self.clock.now_secs()
    }

    /// Sends a request and waits for its reply.
    pub async fn ask(&self, body: &RequestBody<'_>) -> Answer {
        self.ask_within(body, 0).await
    }

    /// The same with a deadline; 0: the default.
    pub async fn ask_within(&self, body: &RequestBody<'_>, deadline_ms: u32) -> Answer {
        drive(&self.context, frame(body, deadline_ms), self.now_secs()).await
    }

    /// Sends bytes that need not be a request.
    pub async fn ask_bytes(&self, bytes: Vec<u8>) -> Answer {
        drive(&self.context, bytes.into(), self.now_secs()).await
    }

    /// Closes in order and opens again on the same device.
    pub async fn restart(mut self) -> Rig {
        let tasks = self.tasks.take().unwrap_or_default();
        self.namespace().close(tasks).await.expect("nothing failed");
        let device = self.device.clone();
        self.reopen_on(device).await
    }

    /// The machine loses power; what opens again is one of the images that this may leave.
    pub async fn crash(self, seed: u64) -> Rig {
        let device = self.device.crash(seed);
        self.reopen_on(device).await
    }

    /// A power failure that also damages the checkpoint, so that everything is replayed.
    pub async fn crash_without_checkpoint(self, seed: u64) -> Rig {
        let device = self.device.crash(seed);
        let epoch = self.namespace().log.epoch();
        let data: Vec<u32> = self.namespace().log.segments().iter().map(|segment| segment.id.0).collect();
        for segment in (0..self.settings.segments as u32).filter(|id| !data.contains(id)) {
            // The first chunk of a checkpoint lies here; in a free segment nothing does. Never the same bit twice.
            let place = self.device_offset(segment, DATA_START + HEADER_BYTES + (epoch / 8 % 4) as usize);
            device.flip_bit(place, (epoch % 8) as u8);
        }
        let rig = self.reopen_on(device).await;
        assert!(!matches!(rig.opened.log.checkpoint, CheckpointOutcome::Loaded { .. }), "it was to be damaged");
        rig
    }

    /// Where a byte of a segment lies on the device.
    pub fn device_offset(&self, segment: u32, offset: usize) -> u64 {
        SEGMENTS_OFFSET + u64::from(segment) * self.settings.segment_bytes as u64 + offset as u64
    }

    /// Opens what another device holds; this rig is gone.
    pub async fn reopen_on(self, device: MemoryDevice) -> Rig {
        let Rig { settings, clock, context, tasks, .. } = self;
        drop((tasks, context));
        Self::open(settings, device, clock).await
    }

    pub async fn checkpoint(&self) {
        self.namespace().checkpoint().await.expect("the device has room for it");
    }

    /// Sweeps every partition once.
    pub fn sweep(&self) {
        for id in outcrop_wire::PartitionId::all() {
            self.namespace().sweep_partition(id);
        }
    }

    /// Gives the background tasks time (free on a paused clock).
    pub async fn settle(&self) {
        tokio::time::sleep(Duration::from_millis(1_200)).await;
    }
}

/// The frame of a request.
pub fn frame(body: &RequestBody<'_>, deadline_ms: u32) -> Bytes {
    let header =
        RequestHeader { request_id: 77, verb: body.verb(), namespace: NamespaceId(0), deadline_ms, trace: None };
    let mut bytes = Vec::new();
    encode_request(&header, body, &mut bytes);
    bytes.into()
}

/// Carries a request out as a lane does.
pub async fn drive(context: &Arc<Context>, frame: Bytes, now_secs: u32) -> Answer {
    let mut out = Vec::new();
    let (verb, code, content, wait) = match execute(context, &frame, None, now_secs, &mut out) {
        Step::Done { verb, code, wait } => (verb.unwrap_or(Verb::Info), code, out, wait),
        Step::Later { header, reply } => {
            assert!(out.is_empty(), "a request that isn't done leaves no bytes behind");
            let finished = reply.await;
            let mut content = finished.content;
            content.extend_from_slice(finished.value.as_deref().unwrap_or_default());
            (header.verb, finished.code, content, finished.wait)
        }
    };
    let content = until_durable(context, &frame, verb, code, content, wait).await;
    let reply = Reply::parse(&content).expect("every reply has a header");
    assert_eq!((reply.header.code, reply.header.verb), (if wait.is_some() { reply.header.code } else { code }, verb));
    Answer { header: reply.header, body: reply.body.to_vec() }
}

async fn until_durable(
    context: &Context,
    frame: &Bytes,
    verb: Verb,
    code: Code,
    content: Vec<u8>,
    wait: Option<Wait>,
) -> Vec<u8> {
    let Some(Wait { namespace, end }) = wait else { return content };
    let deadline_ms = peek_header(frame).map_or(0, |header| header.deadline_ms);
    let deadline_ms = if deadline_ms == 0 { context.deadline_ms_default } else { deadline_ms };
    let waited = Duration::from_millis(deadline_ms.into());
    let durable = context.namespaces[usize::from(namespace)].log.wait_durable(end);
    let poisoned = match tokio::time::timeout(waited, durable).await {
        Ok(Ok(())) => return content,
        Ok(Err(_)) => true,
        Err(_) => false,
    };
    let (code, message) = undurable(verb, code, poisoned, waited);
    let mut out = Vec::new();
    encode_error(&ReplyHeader::new(77, verb, code), &message, &mut out);
    out
}
