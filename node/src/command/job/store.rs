//! Jobs on disk: one file each, with a checksum, written aside, synced and renamed before anybody relies on it.
//!
//! There is one copy. An older one beside it could say that a cancelled job runs; a file that turns out damaged is
//! reported, left where it is, and its job is not run.

use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::record::JobRecord;

const FORMAT: u32 = 1;
const EXTENSION: &str = "job";
/// Names the highest number of a job that was removed: it is never given out again.
const REMOVED: &str = "removed";
/// A file that is larger is no job's: arguments, and 16 failures.
const FILE_BYTES_MAX: u64 = 4 << 20;

/// Why jobs can't be kept.
#[derive(Debug, Error)]
#[error("the jobs' directory: {path}: {error}")]
pub struct JobStoreError {
    path: String,
    error: io::Error,
}

/// Why a file is no job.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
enum Damage {
    #[error("it has {0} bytes, a job has at most {FILE_BYTES_MAX}")]
    Large(u64),
    #[error("it can't be read: {0}")]
    Unreadable(String),
    #[error("it has format {0}, this node reads {FORMAT}")]
    Format(u32),
    #[error("its checksum is wrong")]
    Checksum,
    #[error("it is job {0}'s")]
    Name(u64),
}

#[derive(Serialize, Deserialize)]
struct File {
    format: u32,
    /// BLAKE3 of `job` as it stands here.
    checksum: String,
    job: Box<serde_json::value::RawValue>,
}

/// Where jobs are kept.
#[derive(Debug, Clone)]
pub struct JobStore {
    /// `None`: nowhere; they live as long as the node.
    dir: Option<PathBuf>,
}

/// What lies on disk.
#[derive(Debug, Default)]
pub struct Found {
    /// Intact jobs.
    pub jobs: Vec<JobRecord>,
    /// The highest number of any file, damaged and removed ones included.
    pub highest: u64,
}

fn failed(path: &Path) -> impl Fn(io::Error) -> JobStoreError + use<> {
    let path = path.display().to_string();
    move |error| JobStoreError { path: path.clone(), error }
}

impl JobStore {
    /// Opens `data_dir/jobs` and reads what is there.
    pub async fn open(data_dir: Option<&Path>) -> Result<(Self, Found), JobStoreError> {
        let Some(data_dir) = data_dir else { return Ok((JobStore { dir: None }, Found::default())) };
        let dir = data_dir.join("jobs");
        let (of, reading) = (failed(&dir), dir.clone());
        let found = tokio::task::spawn_blocking(move || {
            std::fs::create_dir_all(&reading)?;
            read_all(&reading)
        });
        let found = found.await.map_err(io::Error::other).map_err(&of)?.map_err(&of)?;
        Ok((JobStore { dir: Some(dir) }, found))
    }

    /// Whether jobs survive the node.
    pub fn keeps(&self) -> bool {
        self.dir.is_some()
    }

    /// Writes a job; on return it survives a crash.
    pub async fn save(&self, job: &JobRecord) -> Result<(), JobStoreError> {
        let Some(dir) = &self.dir else { return Ok(()) };
        let path = path_of(dir, job.id);
        let (of, bytes) = (failed(&path), encode(job));
        let bytes = bytes.map_err(io::Error::other).map_err(&of)?;
        let written = tokio::task::spawn_blocking(move || write(&path, &bytes));
        written.await.map_err(io::Error::other).map_err(&of)?.map_err(&of)
    }

    /// Forgets a job; one that isn't there is forgotten already.
    pub async fn remove(&self, id: u64) -> Result<(), JobStoreError> {
        let Some(dir) = &self.dir else { return Ok(()) };
        let path = path_of(dir, id);
        let (of, dir) = (failed(&path), dir.clone());
        let removed = tokio::task::spawn_blocking(move || {
            if path.exists() && id > highest_removed(&dir) {
                write(&dir.join(REMOVED), id.to_string().as_bytes())?;
            }
            match std::fs::remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            std::fs::File::open(dir)?.sync_all()
        });
        removed.await.map_err(io::Error::other).map_err(&of)?.map_err(&of)
    }
}

fn path_of(dir: &Path, id: u64) -> PathBuf {
    dir.join(format!("{id}.{EXTENSION}"))
}

fn encode(job: &JobRecord) -> serde_json::Result<Vec<u8>> {
    let body = serde_json::to_string(job)?;
    let checksum = blake3::hash(body.as_bytes()).to_hex().to_string();
    serde_json::to_vec(&File { format: FORMAT, checksum, job: serde_json::value::RawValue::from_string(body)? })
}

fn decode(id: u64, bytes: &[u8]) -> Result<JobRecord, Damage> {
    let unreadable = |error: serde_json::Error| Damage::Unreadable(error.to_string());
    let file: File = serde_json::from_slice(bytes).map_err(unreadable)?;
    if file.format != FORMAT {
        return Err(Damage::Format(file.format));
    }
    if blake3::hash(file.job.get().as_bytes()).to_hex().as_str() != file.checksum {
        return Err(Damage::Checksum);
    }
    let job: JobRecord = serde_json::from_str(file.job.get()).map_err(unreadable)?;
    // A copy under another name would run a second time.
    if job.id == id { Ok(job) } else { Err(Damage::Name(job.id)) }
}

/// The highest number of a job that was removed; 0 if none was. A file that can't be read says as much: the worst that
/// follows is a number that comes again.
fn highest_removed(dir: &Path) -> u64 {
    std::fs::read_to_string(dir.join(REMOVED)).ok().and_then(|text| text.trim().parse().ok()).unwrap_or(0)
}

fn read_all(dir: &Path) -> io::Result<Found> {
    let mut found = Found { highest: highest_removed(dir), ..Found::default() };
    for entry in std::fs::read_dir(dir)? {
        let path = entry?.path();
        if path.extension().and_then(|extension| extension.to_str()) != Some(EXTENSION) {
            continue;
        }
        let Some(id) = path.file_stem().and_then(|stem| stem.to_str()?.parse::<u64>().ok()) else { continue };
        found.highest = found.highest.max(id);
        match read(id, &path) {
            Ok(job) => found.jobs.push(job),
            Err(damage) => {
                let path = path.display();
                tracing::error!(job = id, %path, %damage, "a job's file is damaged: the job isn't run, the file stays");
            }
        }
    }
    Ok(found)
}

fn read(id: u64, path: &Path) -> Result<JobRecord, Damage> {
    let unreadable = |error: io::Error| Damage::Unreadable(error.to_string());
    let bytes = std::fs::metadata(path).map_err(unreadable)?.len();
    if bytes > FILE_BYTES_MAX {
        return Err(Damage::Large(bytes));
    }
    decode(id, &std::fs::read(path).map_err(unreadable)?)
}

/// Writes a file so that after a crash it is there whole or not at all.
fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    use std::io::Write;
    let aside = path.with_extension("new");
    let mut file = std::fs::File::create(&aside)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    std::fs::rename(&aside, path)?;
    path.parent().map_or(Ok(()), |dir| std::fs::File::open(dir)?.sync_all())
}

#[cfg(test)]
mod tests {
    use super::super::record::tests::job;
    use super::super::record::{JobState, Place};
    use super::*;

    async fn kept(dir: &Path) -> (Vec<u64>, u64) {
        let (_, found) = JobStore::open(Some(dir)).await.expect("it opens");
        let mut ids: Vec<u64> = found.jobs.iter().map(|job| job.id).collect();
        ids.sort_unstable();
        (ids, found.highest)
    }

    #[tokio::test]
    async fn a_job_comes_back_as_it_was_written_last() {
        let dir = tempfile::tempdir().expect("a directory");
        let (store, found) = JobStore::open(Some(dir.path())).await.expect("it opens");
        assert!(found.jobs.is_empty() && store.keeps());
        let mut job = job(7);
        store.save(&job).await.expect("written");
        job.state = JobState::Paused;
        job.progress = 1.0 / 3.0;
        job.place = Some(Place { log_id: u64::MAX, epoch: 2, start_lsn: 1, position_lsn: u64::MAX - 1, emitted: 3 });
        job.count_failure("set/\u{0}\"", outcrop_wire::Code::FunctionFailed, "ä\n");
        store.save(&job).await.expect("written");
        let (store, found) = JobStore::open(Some(dir.path())).await.expect("it opens");
        assert_eq!((found.jobs, found.highest), (vec![job], 7));
        store.remove(7).await.expect("removed");
        store.remove(7).await.expect("removed already");
        assert_eq!(kept(dir.path()).await, (vec![], 7), "its number isn't given out again");
        std::fs::write(dir.path().join("jobs/removed"), "7 or so").expect("written");
        assert_eq!(kept(dir.path()).await, (vec![], 0));
    }

    /// Catches: a start that fails because of one job's file, or a damaged job that runs.
    #[tokio::test]
    async fn every_damage_of_a_file_is_found_and_the_others_are_read() {
        let dir = tempfile::tempdir().expect("a directory");
        let (store, _) = JobStore::open(Some(dir.path())).await.expect("it opens");
        store.save(&job(1)).await.expect("written");
        store.save(&job(9)).await.expect("written");
        let path = dir.path().join("jobs/9.job");
        let whole = std::fs::read(&path).expect("it is there");
        for at in 0..whole.len() {
            let mut bytes = whole.clone();
            bytes[at] ^= 1;
            std::fs::write(&path, &bytes).expect("written");
            assert_eq!(kept(dir.path()).await, (vec![1], 9), "byte {at} was turned");
        }
        for len in [0, 1, whole.len() / 2, whole.len() - 1] {
            std::fs::write(&path, &whole[..len]).expect("written");
            assert_eq!(kept(dir.path()).await, (vec![1], 9), "cut to {len}");
        }
        std::fs::write(&path, &whole).expect("written");
        assert_eq!(kept(dir.path()).await, (vec![1, 9], 9));
        std::fs::copy(&path, dir.path().join("jobs/12.job")).expect("copied");
        std::fs::write(dir.path().join("jobs/3.new"), b"half").expect("written");
        std::fs::write(dir.path().join("jobs/notes.job"), b"").expect("written");
        std::fs::create_dir(dir.path().join("jobs/13.job")).expect("made");
        assert_eq!(kept(dir.path()).await, (vec![1, 9], 13), "a copy under another name isn't run");
        let newer = String::from_utf8(whole).expect("text").replacen("\"format\":1", "\"format\":2", 1);
        assert_eq!(decode(9, newer.as_bytes()), Err(Damage::Format(2)));
    }

    #[tokio::test]
    async fn without_a_directory_nothing_is_kept() {
        let (store, _) = JobStore::open(None).await.expect("nothing to open");
        store.save(&job(1)).await.expect("nothing to write");
        assert!(!store.keeps());
    }
}
