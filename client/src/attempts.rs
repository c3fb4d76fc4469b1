//! The attempts of one request: when to send again, and what to call a request whose fate isn't known.
//!
//! Architecture invariant: this decides; sending and sleeping are the caller's.

use std::time::Duration;

use outcrop_wire::{Code, Retry};
use tokio::time::Instant;

use crate::answer::{Answer, Outgoing};
use crate::builder::connect_error;
use crate::error::ClientError;
use crate::transport::Lost;
use crate::transport::backoff::Backoff;
use crate::transport::pool::Unavailable;

/// Pauses between attempts of one request.
const RETRY_FIRST: Duration = Duration::from_millis(5);
const RETRY_MOST: Duration = Duration::from_millis(250);
/// A full device is no matter of milliseconds unless defrag is about to free a segment: it gets so many attempts and, with
/// the pauses between them, a quarter of a second; then the caller is told, whatever its deadline and its retries.
const STOP_WRITES_ATTEMPTS: u32 = 3;
const STOP_WRITES_FIRST: Duration = Duration::from_millis(80);
const STOP_WRITES_MOST: Duration = Duration::from_millis(160);

/// Why one attempt has no answer.
#[derive(Debug)]
pub(crate) enum Failure {
    Unavailable(Unavailable),
    Lost(Lost),
    /// Refused on this side; no attempt would go better.
    Here(ClientError),
}

/// What to do after an attempt.
pub(crate) enum Verdict {
    Answer(Result<Answer, ClientError>),
    Again(Duration),
}

/// The attempts of one request, and what they have come to.
pub(crate) struct Attempts<'a> {
    outgoing: &'a Outgoing<'a>,
    waited: Duration,
    deadline: Instant,
    made: u32,
    /// An earlier attempt may have been carried out.
    unknown: bool,
    backoff: Option<Backoff>,
    /// Answers that the device is full, and the pauses after them.
    stopped: (u32, Option<Backoff>),
}

impl<'a> Attempts<'a> {
    /// None made yet.
    pub(crate) fn new(outgoing: &'a Outgoing<'a>, waited: Duration, deadline: Instant) -> Self {
        Attempts { outgoing, waited, deadline, made: 0, unknown: false, backoff: None, stopped: (0, None) }
    }

    /// How many were made.
    pub(crate) fn made(&self) -> u32 {
        self.made
    }

    /// Judges one attempt: the answer, or a pause before the next one.
    pub(crate) fn judge(&mut self, outcome: Result<Answer, Failure>, retries: u32) -> Verdict {
        self.made += 1;
        let full = matches!(&outcome, Ok(answer) if answer.header.code == Code::StopWrites);
        let (error, again) = match outcome {
            Ok(answer) => match self.judge_code(&answer) {
                None => return Verdict::Answer(self.settle(answer)),
                Some(again) => (answer.error(), again),
            },
            Err(failure) => self.judge_failure(failure),
        };
        if again && self.made <= retries {
            let pause = self.pause(full);
            if Instant::now() + pause < self.deadline {
                return Verdict::Again(pause);
            }
        }
        Verdict::Answer(Err(self.after_unknown(error)))
    }

    fn pause(&mut self, full: bool) -> Duration {
        let (backoff, first, most) = match full {
            true => (&mut self.stopped.1, STOP_WRITES_FIRST, STOP_WRITES_MOST),
            false => (&mut self.backoff, RETRY_FIRST, RETRY_MOST),
        };
        backoff.get_or_insert_with(|| Backoff::new(first, most)).pause()
    }

    /// `None`: the answer stands; else whether to send again.
    fn judge_code(&mut self, answer: &Answer) -> Option<bool> {
        if answer.header.code == Code::StopWrites {
            self.stopped.0 += 1;
            return Some(self.stopped.0 < STOP_WRITES_ATTEMPTS);
        }
        match answer.header.code.retry() {
            Retry::Never => None,
            Retry::Backoff => Some(true),
            Retry::IfIdempotent => {
                self.unknown |= self.outgoing.writes;
                Some(!self.outgoing.writes || self.outgoing.idempotent)
            }
        }
    }

    fn judge_failure(&mut self, failure: Failure) -> (ClientError, bool) {
        match failure {
            Failure::Here(error) => (error, false),
            Failure::Unavailable(Unavailable::Closed) => (ClientError::closed("the client was closed"), false),
            Failure::Unavailable(Unavailable::Deadline) => (self.late("no connection"), false),
            Failure::Unavailable(Unavailable::Connect(failure)) => (connect_error(failure), false),
            Failure::Lost(Lost::Protocol(message)) => {
                // An answer came that says something this client doesn't know: the fate of a write is as unknown.
                self.unknown |= self.outgoing.writes;
                (ClientError::Protocol(message), false)
            }
            Failure::Lost(Lost::Unsent(message)) => {
                let late = Instant::now() >= self.deadline;
                (if late { self.late(&message) } else { ClientError::closed(message) }, true)
            }
            Failure::Lost(lost @ Lost::Expired) if self.outgoing.writes => {
                self.unknown = true;
                (ClientError::Indeterminate { message: lost.to_string() }, false)
            }
            Failure::Lost(lost @ Lost::Expired) => (self.late(&lost.to_string()), false),
            Failure::Lost(lost @ Lost::Sent(_)) if self.outgoing.writes => {
                self.unknown = true;
                (ClientError::Indeterminate { message: lost.to_string() }, self.outgoing.idempotent)
            }
            Failure::Lost(lost @ Lost::Sent(_)) => (ClientError::closed(lost.to_string()), true),
        }
    }

    fn late(&self, message: &str) -> ClientError {
        ClientError::Deadline { waited: self.waited, message: message.to_owned() }
    }

    /// An answer that stands, unless the request itself, in an attempt whose reply was lost, may be what it speaks of.
    fn settle(&self, answer: Answer) -> Result<Answer, ClientError> {
        let of_condition = matches!(
            answer.header.code,
            Code::GenerationMismatch
                | Code::AlreadyExists
                | Code::NotFound
                | Code::ModuleUnknown
                | Code::JobUnknown
                | Code::JobState
        );
        if self.unknown && self.outgoing.conditional && of_condition {
            return Err(self.after_unknown(answer.error()));
        }
        Ok(answer)
    }

    /// Once an attempt's fate is unknown, no later failure makes it known.
    fn after_unknown(&self, error: ClientError) -> ClientError {
        match error {
            error if !self.unknown || matches!(error, ClientError::Indeterminate { .. }) => error,
            error if self.made == 1 => ClientError::Indeterminate { message: error.to_string() },
            error => ClientError::Indeterminate {
                message: format!("an attempt's reply was lost, and the next one was told: {error}"),
            },
        }
    }
}
