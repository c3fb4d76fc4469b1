//! Which series: `NAMESPACE/SET/NAME{TAG=VALUE,…}`, the key of its record, with tags as options for shells.

use clap::Args;
use outcrop_client::Client;
use outcrop_client::timeseries::{SeriesName, TimeSeries};
use outcrop_wire::key::{check_namespace_name, check_set_name};

use super::failed;
use crate::failure::Failure;

/// How series are written; the same words in every command that takes one.
pub const SERIES_HELP: &str = "\
Series: NAMESPACE/SET/NAME or 'NAMESPACE/SET/NAME{TAG=VALUE,…}' (in quotes: shells expand braces); --tag adds tags, so
test/metrics/cpu --tag host=a --tag zone=eu is 'test/metrics/cpu{host=a,zone=eu}'. That is also the key of the series'
own record; the order of tags doesn't matter.";

/// A series on the command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeriesPath {
    /// The namespace.
    pub namespace: String,
    /// The set.
    pub set: String,
    /// Name and tags.
    pub name: SeriesName,
}

/// Which series.
#[derive(Debug, Clone, Args)]
pub struct SeriesArgs {
    /// NAMESPACE/SET/NAME or 'NAMESPACE/SET/NAME{TAG=VALUE,…}'
    #[arg(value_name = "SERIES", value_parser = parse_series)]
    pub path: SeriesPath,
    /// A tag of the series; may be there several times
    #[arg(long, value_name = "NAME=VALUE", value_parser = parse_tag)]
    pub tag: Vec<(String, String)>,
}

/// Parses a series.
pub fn parse_series(text: &str) -> Result<SeriesPath, String> {
    let mut parts = text.splitn(3, '/');
    let (Some(namespace), Some(set), Some(name)) = (parts.next(), parts.next(), parts.next()) else {
        return Err("a series is NAMESPACE/SET/NAME, such as test/metrics/cpu".to_owned());
    };
    check_namespace_name(namespace).map_err(|error| error.to_string())?;
    check_set_name(set).map_err(|error| error.to_string())?;
    let name = name.parse().map_err(|error: outcrop_client::timeseries::SeriesNameError| error.to_string())?;
    Ok(SeriesPath { namespace: namespace.to_owned(), set: set.to_owned(), name })
}

/// Parses a tag.
pub fn parse_tag(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("a tag is NAME=VALUE, such as host=a")?;
    SeriesName::new("name").tag(name, value).check().map_err(|error| error.to_string())?;
    Ok((name.to_owned(), value.to_owned()))
}

impl SeriesPath {
    /// At a node.
    pub fn at(&self, client: &Client) -> Result<TimeSeries, Failure> {
        client.time_series(&self.namespace, &self.set, self.name.clone()).map_err(|error| failed(&error))
    }

    /// As it is printed.
    pub fn shown(&self) -> String {
        format!("{}/{}/{}", self.namespace, self.set, self.name)
    }
}

impl SeriesArgs {
    /// With all tags.
    pub fn path(&self) -> Result<SeriesPath, Failure> {
        self.path.tagged(&self.tag)
    }
}

impl SeriesPath {
    /// With these tags as well; a tag can't be given twice.
    pub fn tagged(&self, tags: &[(String, String)]) -> Result<SeriesPath, Failure> {
        let mut path = self.clone();
        for (name, value) in tags {
            if path.name.tags().contains_key(name) {
                return Err(Failure::usage(format!("the tag {name} is there twice"), "Say each tag once."));
            }
            path.name = path.name.tag(name.as_str(), value.as_str());
        }
        path.name.check().map_err(|error| Failure::usage(error.to_string(), "Change the series' name."))?;
        Ok(path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_in_braces_and_as_options_are_the_same() {
        let args = |text: &str, tags: &[&str]| SeriesArgs {
            path: parse_series(text).unwrap(),
            tag: tags.iter().map(|tag| parse_tag(tag).unwrap()).collect(),
        };
        let braces = args("test/metrics/cpu{zone=eu,host=a}", &[]).path().unwrap();
        assert_eq!(braces.shown(), "test/metrics/cpu{host=a,zone=eu}");
        assert_eq!(args("test/metrics/cpu{zone=eu}", &["host=a"]).path(), Ok(braces.clone()));
        assert_eq!(args("test/metrics/cpu", &["host=a", "zone=eu"]).path(), Ok(braces));
        assert!(args("test/metrics/cpu{zone=eu}", &["zone=us"]).path().is_err());
        assert_eq!(parse_series("test/metrics/disk/used").unwrap().name.name(), "disk/used");
        for wrong in ["cpu", "test/cpu", "test/metrics/", "test/metrics/cpu{a}", "test//cpu", "test/metrics/cpu@1"] {
            assert!(parse_series(wrong).is_err(), "{wrong}");
        }
        assert!(parse_tag("host").is_err() && parse_tag("host=").is_err() && parse_tag("host=a,b=c").is_err());
    }
}
