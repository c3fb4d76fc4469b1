//! Orders to requests, replies to outcomes: everything between the request loop and the wire.

use std::fmt::Write;
use std::sync::Arc;

use outcrop_wire::archive::archive_operations;
use outcrop_wire::reader::{ReadError, Reader};
use outcrop_wire::reply::REPLY_HEADER_BYTES;
use outcrop_wire::request::{BatchItem, CallRequest};
use outcrop_wire::{
    BinSelection, Code, FunctionPath, KeyRef, NamespaceId, Operation, PutMode, RequestBody, Ttl, UserKeyRef,
};
use rand::RngExt;

use super::mix::Kind;
use super::plan::{KeyType, Plan};
use super::request_loop::{Order, Outcome, RequestLoop, Tallies};
use super::values::{Shape, Values};

/// A reply that isn't what was written: the node (or the transport, or this tool) is wrong.
pub const MISMATCH: &str = "value_mismatch";
/// A reply whose structure can't be read.
pub const MALFORMED: &str = "malformed_reply";

/// The bin that [`Kind::Add`] adds to; no bin of the generator's records has this name.
const ADD_BIN: &str = "visits";

/// What has to be remembered of a request until its reply comes.
#[derive(Debug, Clone, Default)]
struct Sent {
    /// Bytes of the record that a put carried.
    bytes: u64,
    /// Records of a batch; only kept when replies are checked.
    numbers: Vec<u64>,
}

/// Makes the requests of one connection and reads their replies.
#[derive(Debug)]
pub struct Encoder {
    plan: Arc<Plan>,
    values: Values,
    namespace: NamespaceId,
    /// The steps of [`Kind::Add`].
    add: Vec<u8>,
    text: String,
    batch_texts: Vec<String>,
    sent: Vec<Sent>,
}

fn user_key(key_type: KeyType, number: u64, text: &mut String) -> UserKeyRef<'_> {
    match key_type {
        KeyType::Int => UserKeyRef::Int(number as i64),
        KeyType::Text => {
            text.clear();
            // Writing to a string can't fail.
            let _ = write!(text, "user{number:019}");
            UserKeyRef::Text(text)
        }
    }
}

/// The record's number in a key that [`Encoder`] made.
pub fn number_of(key: UserKeyRef<'_>) -> Option<u64> {
    match key {
        UserKeyRef::Int(number) => u64::try_from(number).ok(),
        UserKeyRef::Text(text) => text.strip_prefix("user")?.parse().ok(),
        UserKeyRef::Bytes(_) => None,
    }
}

impl Encoder {
    /// For a connection on which the namespace has this number.
    pub fn new(plan: Arc<Plan>, values: Values, namespace: NamespaceId) -> Self {
        let sent = vec![Sent::default(); plan.in_flight.max(plan.load_in_flight) as usize];
        let steps = vec![Operation::Add { bin: ADD_BIN.to_owned(), amount: 1.into() }];
        let add = archive_operations(&steps).expect("one step is within every limit");
        Encoder { plan, values, namespace, add, text: String::new(), batch_texts: Vec::new(), sent }
    }

    /// The namespace's number on the connection.
    pub fn namespace(&self) -> NamespaceId {
        self.namespace
    }

    /// The namespace has another number on a new connection.
    pub fn set_namespace(&mut self, namespace: NamespaceId) {
        self.namespace = namespace;
    }

    /// Calls `submit` with the order's request.
    ///
    /// # Errors
    /// Names why the request can't be made; `submit`'s own result otherwise.
    pub fn with_request<T>(
        &mut self,
        order: Order,
        requests: &mut RequestLoop,
        submit: impl FnOnce(&RequestBody<'_>) -> T,
    ) -> Result<T, &'static str> {
        match order.kind {
            Kind::Batch => Ok(self.with_batch(order, requests, submit)),
            Kind::Call => self.with_call(order, submit),
            Kind::Add => {
                let user_key = user_key(self.plan.key_type, order.number, &mut self.text);
                let key = KeyRef { set: &self.plan.set, user_key };
                let (if_generation, ttl) = (None, Ttl::Keep);
                Ok(submit(&RequestBody::Operate { key, if_generation, ttl, operations: &self.add }))
            }
            _ if order.writes => self.with_put(order, requests, submit),
            _ => {
                let user_key = user_key(self.plan.key_type, order.number, &mut self.text);
                let key = KeyRef { set: &self.plan.set, user_key };
                Ok(submit(&RequestBody::Get { key, bins: BinSelection::All }))
            }
        }
    }

    fn with_call<T>(&mut self, order: Order, submit: impl FnOnce(&RequestBody<'_>) -> T) -> Result<T, &'static str> {
        // Options without a function, or with a malformed one, don't settle.
        let call = self.plan.call.as_ref().ok_or(Code::InvalidRequest.name())?;
        let function = FunctionPath::parse(&call.function).map_err(|_| Code::InvalidRequest.name())?;
        let user_key = user_key(self.plan.key_type, order.number, &mut self.text);
        let key = KeyRef { set: &self.plan.set, user_key };
        let (if_generation, report) = (None, false);
        Ok(submit(&RequestBody::Call(CallRequest { key, if_generation, report, function, arguments: &call.arguments })))
    }

    fn with_put<T>(
        &mut self,
        order: Order,
        requests: &mut RequestLoop,
        submit: impl FnOnce(&RequestBody<'_>) -> T,
    ) -> Result<T, &'static str> {
        let bytes = self.plan.value_bytes.draw(requests.prng());
        let bins = self.values.bins();
        let one_bin = bins > 1 && order.kind != Kind::Insert && !self.plan.write_all_bins;
        let (shape, mode) = if one_bin {
            let bin = requests.prng().random_range(0..bins);
            (Shape::OneBin(bin, bytes / usize::from(bins)), PutMode::Upsert)
        } else {
            (Shape::Whole(bytes), PutMode::Replace)
        };
        let nonce = requests.draw_nonce();
        // The sizes are checked beforehand, so this names a combination of bins and bytes that no record can have.
        let archive = self.values.archive(order.number, shape, nonce).map_err(|_| Code::RecordTooLarge.name())?;
        if let Some(sent) = self.sent.get_mut(order.token as usize) {
            sent.bytes = archive.len() as u64;
        }
        let user_key = user_key(self.plan.key_type, order.number, &mut self.text);
        let key = KeyRef { set: &self.plan.set, user_key };
        Ok(submit(&RequestBody::Put { key, mode, if_generation: None, ttl: Ttl::Default, archive }))
    }

    fn with_batch<T>(
        &mut self,
        order: Order,
        requests: &mut RequestLoop,
        submit: impl FnOnce(&RequestBody<'_>) -> T,
    ) -> T {
        let count = usize::from(self.plan.batch);
        let mut unkept = Vec::new();
        let numbers = match self.sent.get_mut(order.token as usize) {
            Some(sent) => &mut sent.numbers,
            None => &mut unkept,
        };
        numbers.clear();
        numbers.push(order.number);
        numbers.extend((1..count).map(|_| requests.draw_number()));
        self.batch_texts.resize(count, String::new());
        let items = numbers.iter().zip(&mut self.batch_texts).map(|(number, text)| {
            let user_key = user_key(self.plan.key_type, *number, text);
            let key = KeyRef { set: &self.plan.set, user_key };
            BatchItem { namespace: self.namespace, body: RequestBody::Get { key, bins: BinSelection::All } }
        });
        submit(&RequestBody::Batch { items: items.collect() })
    }

    /// What the reply to a request of this kind and record says.
    pub fn read_reply(
        &self,
        token: u64,
        code: Code,
        body: &[u8],
        requests: &mut RequestLoop,
        tallies: &mut Tallies,
    ) -> Outcome {
        let Some((kind, number, writing)) = requests.under_way(token) else { return Outcome::Failed(MALFORMED) };
        match kind {
            _ if code != Code::Ok => Outcome::Refused(code),
            Kind::Batch => self.read_batch(token, body, requests, tallies),
            Kind::Call | Kind::Add => Outcome::Done { records: 1, bytes: body.len() as u64 },
            _ if writing => {
                Outcome::Done { records: 1, bytes: self.sent.get(token as usize).map_or(0, |sent| sent.bytes) }
            }
            _ if self.plan.verify && !self.values.check_stored(number, body) => Outcome::Failed(MISMATCH),
            _ => Outcome::Done { records: 1, bytes: body.len() as u64 },
        }
    }

    fn read_batch(&self, token: u64, body: &[u8], requests: &mut RequestLoop, tallies: &mut Tallies) -> Outcome {
        let numbers = self.sent.get(token as usize).map_or(&[][..], |sent| &sent.numbers);
        let mut done = (0, 0);
        match self.read_items(body, numbers, &mut done, |failure| requests.handle_partial(token, failure, tallies)) {
            Ok(true) => Outcome::Done { records: done.0, bytes: done.1 },
            Ok(false) | Err(_) => Outcome::Failed(MALFORMED),
        }
    }

    /// Whether there were as many replies as requests.
    fn read_items(
        &self,
        body: &[u8],
        numbers: &[u64],
        done: &mut (u64, u64),
        mut failed: impl FnMut(&'static str),
    ) -> Result<bool, ReadError> {
        let mut reader = Reader::new(body);
        let count = usize::from(reader.u16("number of replies")?);
        for number in numbers.iter().take(count) {
            let len = reader.u32("reply length")? as usize;
            let mut item = Reader::new(reader.bytes(len, "reply")?);
            item.u32("request id")?;
            let code = Code::from_number(item.u16("code")?);
            item.bytes(REPLY_HEADER_BYTES - 6, "reply header")?;
            match code {
                Some(Code::Ok) if self.plan.verify && !self.values.check_stored(*number, item.rest()) => {
                    failed(MISMATCH);
                }
                Some(Code::Ok) => *done = (done.0 + 1, done.1 + item.rest().len() as u64),
                Some(code) => failed(code.name()),
                None => failed(MALFORMED),
            }
        }
        Ok(count == numbers.len() && reader.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use outcrop_wire::{ReplyHeader, StoredHeader, Verb};
    use rand::SeedableRng;
    use rand::rngs::Xoshiro256PlusPlus as Prng;

    use super::super::keys::{Chooser, Distribution, Inserts};
    use super::super::mix::{Mix, Shares};
    use super::super::pace::Pacer;
    use super::super::request_loop::{Bounds, Source, Step};
    use super::*;

    fn plan(line: &str) -> Arc<Plan> {
        #[derive(clap::Parser)]
        struct Line {
            #[command(flatten)]
            args: super::super::args::BenchArgs,
        }
        let words = std::iter::once("bench").chain(line.split_whitespace());
        let line = <Line as clap::Parser>::try_parse_from(words).expect("options");
        Arc::new(line.args.settle().expect("a plan"))
    }

    fn encoder(plan: &Arc<Plan>) -> Encoder {
        let values = Values::new(plan.seed, plan.bins, plan.value_bytes.max());
        Encoder::new(plan.clone(), values, NamespaceId(3))
    }

    fn requests(shares: Shares, batched: bool) -> RequestLoop {
        let bounds = Bounds { measure_from_ns: 0, stop_at_ns: 1, drain_until_ns: 1, ops_max: None };
        let source = Source::Mixed {
            mix: Mix::new(shares, batched).expect("a mix"),
            chooser: Chooser::new(Distribution::Uniform, 1_000, 0.99),
            inserts: Inserts::new(1_000, 0, 1),
        };
        RequestLoop::new(bounds, Pacer::Closed, source, 4, Prng::seed_from_u64(1))
    }

    /// The stored record that a node would answer with.
    fn stored(key: KeyRef<'_>, archive: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        let header = StoredHeader { generation: 1, digest: key.digest(), ..StoredHeader::default() };
        header.encode(key, archive.len(), &mut bytes);
        bytes.extend_from_slice(archive);
        bytes
    }

    #[test]
    fn what_a_put_carries_is_what_a_verified_read_accepts() {
        for line in ["--verify", "--verify --bins 10", "--verify --key-type text --value-bytes 100..200"] {
            let plan = plan(line);
            let mut encoder = encoder(&plan);
            let mut puts = requests(Shares { insert: 1.0, ..Shares::default() }, false);
            let mut tallies = Tallies::default();
            let Step::Send(order) = puts.poll_step(0, &mut tallies) else { panic!("an order") };
            let body = encoder.with_request(order, &mut puts, |body| match body {
                RequestBody::Put { key, archive, .. } => stored(*key, archive),
                other => panic!("{other:?}"),
            });
            let body = body.expect("a put");
            assert!(encoder.values.check_stored(order.number, &body), "{line}");
            assert!(!encoder.values.check_stored(order.number + 1, &body), "{line}");
            let outcome = encoder.read_reply(order.token, Code::Ok, &[0; 4], &mut puts, &mut tallies);
            assert!(matches!(outcome, Outcome::Done { records: 1, bytes } if bytes > 90), "{outcome:?}");
        }
    }

    #[test]
    fn a_batch_counts_each_of_its_records() {
        let mut encoder = encoder(&plan("--batch 3 --verify"));
        let mut reads = requests(Shares { read: 1.0, ..Shares::default() }, true);
        let mut tallies = Tallies::default();
        let Step::Send(order) = reads.poll_step(0, &mut tallies) else { panic!("an order") };
        let numbers = encoder.with_request(order, &mut reads, |body| match body {
            RequestBody::Batch { items } => items.len(),
            other => panic!("{other:?}"),
        });
        assert_eq!(numbers, Ok(3));
        let numbers = encoder.sent[order.token as usize].numbers.clone();
        let key = |number: u64| KeyRef { set: "bench", user_key: UserKeyRef::Int(number as i64) };
        let good = encoder.values.archive(numbers[0], Shape::Whole(1_024), 5).expect("archive").to_vec();
        let mut body = 3_u16.to_le_bytes().to_vec();
        let items = [
            (Code::Ok, stored(key(numbers[0]), &good)),
            (Code::NotFound, b"not found".to_vec()),
            (Code::Ok, stored(key(numbers[2]), &good)),
        ];
        for (code, record) in items {
            let mut item = Vec::new();
            ReplyHeader::new(0, Verb::Get, code).encode(&mut item);
            item.extend_from_slice(&record);
            body.extend_from_slice(&(item.len() as u32).to_le_bytes());
            body.extend_from_slice(&item);
        }
        let outcome = encoder.read_reply(order.token, Code::Ok, &body, &mut reads, &mut tallies);
        assert!(matches!(outcome, Outcome::Done { records: 1, bytes } if bytes > 1_024), "{outcome:?}");
        assert_eq!((tallies.measured.failures_of("not_found"), tallies.measured.failures_of(MISMATCH)), (1, 1));
        for cut in [0, 1, 5, 20, body.len() - 1] {
            let outcome = encoder.read_reply(order.token, Code::Ok, &body[..cut], &mut reads, &mut tallies);
            assert_eq!(outcome, Outcome::Failed(MALFORMED), "cut at {cut}");
        }
    }

    #[test]
    fn a_refusal_is_known_by_its_code() {
        let mut encoder = encoder(&plan(""));
        let mut reads = requests(Shares { read: 1.0, ..Shares::default() }, false);
        let mut tallies = Tallies::default();
        let Step::Send(order) = reads.poll_step(0, &mut tallies) else { panic!("an order") };
        encoder.with_request(order, &mut reads, |_| ()).expect("a get");
        let outcome = encoder.read_reply(order.token, Code::NotFound, b"", &mut reads, &mut tallies);
        assert_eq!(outcome, Outcome::Refused(Code::NotFound));
    }
}
