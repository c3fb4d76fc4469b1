//! Workers: one thread each, with one runtime, one ring for the device and one UDP socket.
//!
//! The only room of the node that makes threads. Sockets share the port (SO_REUSEPORT), so the kernel gives a
//! connection's packets to the same worker each time, and nothing of a request crosses threads.

use std::thread::JoinHandle;

use outcrop_flash::device::uring;
use thiserror::Error;
use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;

/// Operations of the device that one worker may have in flight.
const QUEUE_DEPTH: u32 = 256;

/// How much lower the priority of a thread is that serves nobody: against a busy worker it gets a tenth of a core.
const ASIDE_NICE: i32 = 10;

/// How much lower the priority of a thread is that runs functions.
const POOL_NICE: i32 = 5;

/// A worker's thread can't be made.
#[derive(Debug, Error)]
#[error("worker {number} can't start: {message}")]
pub struct WorkerError {
    /// Which worker.
    pub number: usize,
    /// Why.
    pub message: String,
}

/// One worker thread; it ends when this is dropped or stopped.
pub struct Worker {
    number: usize,
    handle: Handle,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Worker {
    /// Starts the thread and its runtime.
    pub fn start(number: usize) -> Result<Self, WorkerError> {
        Worker::spawn(number, format!("outcrop-{number}"), |number, stopped, ready| run(number, true, stopped, ready))
    }

    /// Starts a thread with a runtime for work that no request waits for: it has no ring, no socket, and a lower
    /// priority than the workers where the kernel grants that.
    pub fn start_aside(name: &str) -> Result<Self, WorkerError> {
        Worker::spawn(usize::MAX, name.to_owned(), |number, stopped, ready| {
            if let Err(error) = rustix::process::nice(ASIDE_NICE) {
                tracing::debug!(%error, "a thread that serves nobody keeps its priority");
            }
            run(number, false, stopped, ready);
        })
    }

    /// Starts a thread for functions that take long: with a ring of its own, and a lower priority than the workers, so
    /// that who only reads doesn't wait for it.
    pub fn start_pool(number: usize) -> Result<Self, WorkerError> {
        Worker::spawn(number, format!("outcrop-udf-{number}"), |number, stopped, ready| {
            if let Err(error) = rustix::process::nice(POOL_NICE) {
                tracing::debug!(%error, "a thread for functions keeps its priority");
            }
            run(number, true, stopped, ready);
        })
    }

    fn spawn(
        number: usize,
        name: String,
        run: impl FnOnce(usize, oneshot::Receiver<()>, &Ready) + Send + 'static,
    ) -> Result<Self, WorkerError> {
        let failed = |message: String| WorkerError { number, message };
        let (stop, stopped) = oneshot::channel();
        let (ready, readied) = std::sync::mpsc::sync_channel(1);
        let thread = std::thread::Builder::new()
            .name(name)
            .spawn(move || run(number, stopped, &ready))
            .map_err(|error| failed(error.to_string()))?;
        let handle = readied
            .recv()
            .map_err(|_| failed("its thread ended".to_owned()))?
            .map_err(|error| failed(error.to_string()))?;
        Ok(Worker { number, handle, stop: Some(stop), thread: Some(thread) })
    }

    /// Its number, from 0.
    pub fn number(&self) -> usize {
        self.number
    }

    /// Its runtime, to spawn on.
    pub fn handle(&self) -> &Handle {
        &self.handle
    }

    /// Ends the runtime and waits for the thread. Must not be called on a worker.
    pub fn stop(mut self) {
        self.end();
    }

    fn end(&mut self) {
        if let Some(stop) = self.stop.take() {
            // Fails only if the worker ended by itself.
            let _ = stop.send(());
        }
        if let Some(thread) = self.thread.take()
            && thread.thread().id() != std::thread::current().id()
            && thread.join().is_err()
        {
            tracing::error!(worker = self.number, "a worker's thread panicked");
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.end();
    }
}

type Ready = std::sync::mpsc::SyncSender<std::io::Result<Handle>>;

fn run(number: usize, with_ring: bool, stopped: oneshot::Receiver<()>, ready: &Ready) {
    // What can't be delivered has nobody waiting for it.
    let runtime = match Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            let _ = ready.send(Err(error));
            return;
        }
    };
    runtime.block_on(async {
        let ring = with_ring.then(|| uring::attach_to_this_thread(QUEUE_DEPTH));
        if let Some(Err(error)) = &ring {
            tracing::info!(worker = number, %error, "no ring on this worker's thread: devices use their own");
        }
        let _ = ready.send(Ok(Handle::current()));
        // An error says that the node is gone, which is a reason to stop as well.
        let _ = stopped.await;
        drop(ring);
    });
    runtime.shutdown_timeout(std::time::Duration::from_secs(5));
}

/// Number of workers: as configured, or one a core.
pub fn worker_count(configured: usize) -> usize {
    match configured {
        0 => std::thread::available_parallelism().map_or(1, usize::from),
        count => count,
    }
}
