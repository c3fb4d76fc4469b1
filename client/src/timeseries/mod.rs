//! Time series: points in compressed blocks beside the `timeseries` module, which comes with every node.
//!
//! A series is a name with tags, `cpu{host=a}`, in a set. Its own record (of that very key) says how long its blocks are,
//! its policies, and which blocks there are; a block's record (`cpu{host=a}@NUMBER`) holds the points of one span of time,
//! compressed. An append touches the blocks that its points fall into and no others; a query reads the series' record
//! and then runs over exactly the blocks of its time, on all cores of the node.
//!
//! ```no_run
//! use outcrop_client::timeseries::{Point, SeriesName, WindowFunction, WindowQuery};
//!
//! # async fn example(client: outcrop_client::Client) -> Result<(), outcrop_client::timeseries::TimeSeriesError> {
//! let cpu = client.time_series("test", "metrics", SeriesName::new("cpu").tag("host", "a"))?;
//! cpu.append(&[Point::new(1_404_172_800_000, 0.93), Point::new(1_404_172_801_000, 0.97)]).await?;
//!
//! let day = WindowQuery::new(1_404_172_800_000, 1_404_259_200_000)
//!     .every_ms(3_600_000)
//!     .function(WindowFunction::Avg)
//!     .function(WindowFunction::Percentile(99.0));
//! for row in cpu.windows(&day).await?.rows() {
//!     println!("{}: {} points, average {:?}, p99 {:?}", row.start_ms, row.count, row.values[0], row.values[1]);
//! }
//! # Ok(())
//! # }
//! ```
//!
//! # Times, order, duplicates
//!
//! Times are milliseconds since 1970 (UTC). Points may come in any order; a late one makes its chunk of up to 4,096
//! points be written anew, nothing else. What a second point of one time does is the series' policy ([`Duplicates`]).
//!
//! # Retention
//!
//! A series with a retention drops whole blocks: a block expires once its last possible point is older than that. Points
//! that are too old already are counted ([`Appended::expired`]) and not written.

mod append;
mod blocks;
mod error;
mod handle;
mod name;
mod read;
mod span;
mod types;
mod windows;

pub use error::{FailedBlock, TimeSeriesError};
pub use handle::{SeriesList, TimeSeries};
pub use name::{SeriesName, SeriesNameError};
pub use read::RangePages;
pub use types::{Appended, Duplicates, Point, Series, SeriesEntry, SeriesOptions, Stored};
pub use windows::{Fill, WindowColumn, WindowFunction, WindowQuery, WindowRow, WindowTable};
