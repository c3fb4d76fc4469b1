//! `outcrop operate`: change one record in steps, all or nothing.

use clap::Args;
use outcrop_client::{Key, MapKey, OperateOptions, Operation, Ttl, Value};
use outcrop_wire::limits::VALUE_DEPTH_MAX;

use super::{failed, shown};
use crate::failure::{Exit, Failure};
use crate::json::parse_value;
use crate::keys::{parse_key, parse_map_key};
use crate::output::{Out, OutputFormat, object, table, value_text};
use crate::target::Target;
use crate::ttl::parse_ttl;

const HELP: &str = "\
Examples:
  outcrop operate test/users/42 --op 'add visits 1' --op 'read visits'
  outcrop operate test/users/42 --op 'list-append tags \"new\"' --op 'list-trim tags -10 10'
  outcrop operate test/users/42 --op 'map-put cart sku-7 {\"n\":2}' --op 'map-len cart' --if-generation 3

Steps (BIN is a word, or a JSON string if it has spaces; JSON is any document; KEY is written as a record's key):
  read BIN               put BIN JSON              remove BIN             add BIN NUMBER
  append BIN JSON        prepend BIN JSON          touch                  delete
  list-append BIN JSON   list-insert BIN INDEX JSON   list-pop BIN INDEX  list-trim BIN INDEX COUNT
  list-remove BIN JSON   list-get BIN INDEX        list-len BIN
  map-put BIN KEY JSON   map-remove BIN KEY        map-get BIN KEY        map-rank BIN RANK      map-len BIN

Each step gives one result; a later step sees what an earlier one did; if one fails, none has happened.
Exit codes: 0 done, 4 --if-generation refused, 6 unknown whether it happened, 7 a step doesn't fit its bin.";

/// Change a record in steps.
#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub struct OperateArgs {
    /// NAMESPACE/SET/KEY
    #[arg(value_parser = parse_key)]
    pub key: Key,
    /// A step; give several for several steps, in order
    #[arg(long = "op", value_name = "STEP", required = true, value_parser = parse_step)]
    pub steps: Vec<Operation>,
    /// Time to live if a step writes (default: the record keeps what it has)
    #[arg(long, value_name = "TTL", default_value = "keep", value_parser = parse_ttl, allow_hyphen_values = true)]
    pub ttl: Ttl,
    /// Only if the record has this generation
    #[arg(long, value_name = "N")]
    pub if_generation: Option<u32>,
    /// The node.
    #[command(flatten)]
    pub target: Target,
}

/// Runs the steps and prints their results.
pub async fn run(args: &OperateArgs) -> Result<Exit, Failure> {
    let client = args.target.connect().await?;
    let mut options = OperateOptions::default().ttl(args.ttl);
    if let Some(generation) = args.if_generation {
        options = options.if_generation(generation);
    }
    let result = match client.operate(&args.key, args.steps.clone(), options).await {
        Ok(result) => result,
        Err(error) => return Err(failed(&client, &args.key, error).await),
    };
    let mut out = Out::new();
    match args.target.output {
        OutputFormat::Json => out.json(&object([
            ("key", shown(&args.key).into()),
            ("exists", result.exists.into()),
            ("generation", i64::from(result.generation).into()),
            ("results", result.values.into()),
        ]))?,
        OutputFormat::Table => {
            let state =
                if result.exists { format!("generation {}", result.generation) } else { "isn't there".to_owned() };
            out.line(&format!("{}  {state}", shown(&args.key)))?;
            let mut table = table(["step", "bin", "result"]);
            for (place, (step, value)) in args.steps.iter().zip(&result.values).enumerate() {
                table.add_row([(place + 1).to_string(), step.bin().unwrap_or("").to_owned(), value_text(value)]);
            }
            out.table(&table)?;
        }
    }
    out.flush()?;
    client.close().await;
    Ok(Exit::Ok)
}

/// Reads one step, such as `add visits 1`.
fn parse_step(text: &str) -> Result<Operation, String> {
    let mut words = Words { rest: text.trim() };
    let name = words.word("the step's name")?;
    let operation = match name.as_str() {
        "touch" => Operation::Touch,
        "delete" => Operation::Delete,
        _ => bin_step(&name, words.word("the bin")?, &mut words)?,
    };
    match words.rest {
        "" => Ok(operation),
        rest => Err(format!("{rest:?} is too much for the step {name}")),
    }
}

fn bin_step(name: &str, bin: String, words: &mut Words<'_>) -> Result<Operation, String> {
    Ok(match name {
        "read" => Operation::Read { bin },
        "put" => Operation::Put { bin, value: words.json()? },
        "remove" => Operation::Remove { bin },
        "add" => Operation::Add { bin, amount: words.json()? },
        "append" => Operation::Append { bin, value: words.json()? },
        "prepend" => Operation::Prepend { bin, value: words.json()? },
        "list-append" => Operation::ListAppend { bin, value: words.json()? },
        "list-insert" => Operation::ListInsert { bin, index: words.number("the index")?, value: words.json()? },
        "list-pop" => Operation::ListPop { bin, index: words.number("the index")? },
        "list-trim" => Operation::ListTrim {
            bin,
            index: words.number("the index")?,
            count: u64::try_from(words.number("the count")?).map_err(|_| "a count isn't negative".to_owned())?,
        },
        "list-remove" => Operation::ListRemove { bin, value: words.json()? },
        "list-get" => Operation::ListGet { bin, index: words.number("the index")? },
        "list-len" => Operation::ListLen { bin },
        "map-put" => Operation::MapPut { bin, key: words.map_key()?, value: words.json()? },
        "map-remove" => Operation::MapRemove { bin, key: words.map_key()? },
        "map-get" => Operation::MapGetByKey { bin, key: words.map_key()? },
        "map-rank" => Operation::MapGetByRank { bin, rank: words.number("the rank")? },
        "map-len" => Operation::MapLen { bin },
        other => return Err(format!("there is no step {other:?}; --help lists them")),
    })
}

/// The words of a step that are left.
struct Words<'a> {
    rest: &'a str,
}

impl Words<'_> {
    /// A word, or a JSON string.
    fn word(&mut self, what: &str) -> Result<String, String> {
        let missing = || format!("{what} is missing");
        if !self.rest.starts_with('"') {
            let end = self.rest.find(char::is_whitespace).unwrap_or(self.rest.len());
            let (word, rest) = self.rest.split_at(end);
            self.rest = rest.trim_start();
            return if word.is_empty() { Err(missing()) } else { Ok(word.to_owned()) };
        }
        let mut stream = serde_json::Deserializer::from_str(self.rest).into_iter::<String>();
        let word = stream.next().ok_or_else(missing)?.map_err(|error| format!("{what}: {error}"))?;
        let end = stream.byte_offset();
        self.rest = self.rest.get(end..).unwrap_or_default().trim_start();
        Ok(word)
    }

    fn number(&mut self, what: &str) -> Result<i64, String> {
        let word = self.word(what)?;
        word.parse().map_err(|_| format!("{what} is an integer, not {word:?}"))
    }

    fn map_key(&mut self) -> Result<MapKey, String> {
        if self.rest.starts_with('"') {
            return self.word("the key").map(MapKey::Text);
        }
        parse_map_key(&self.word("the key")?).map_err(|error| error.to_string())
    }

    /// Everything that is left, as a document.
    fn json(&mut self) -> Result<Value, String> {
        let text = std::mem::take(&mut self.rest);
        if text.is_empty() {
            return Err("the value is missing".to_owned());
        }
        parse_value(text.as_bytes(), VALUE_DEPTH_MAX)
            .map_err(|error| format!("{error} (a text is written with its quotes: '\"text\"')"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_read() {
        let bin = || "b".to_owned();
        assert_eq!(parse_step("add b 1"), Ok(Operation::Add { bin: bin(), amount: Value::Int(1) }));
        assert_eq!(parse_step(" read  b "), Ok(Operation::Read { bin: bin() }));
        assert_eq!(parse_step("touch"), Ok(Operation::Touch));
        let spaced = Operation::Put { bin: "a b".to_owned(), value: Value::from("x y") };
        assert_eq!(parse_step(r#"put "a b" "x y""#), Ok(spaced));
        assert_eq!(parse_step(r#"read """#), Ok(Operation::Read { bin: String::new() }));
        let trim = Operation::ListTrim { bin: bin(), index: -10, count: 10 };
        assert_eq!(parse_step("list-trim b -10 10"), Ok(trim));
        let put = Operation::MapPut { bin: bin(), key: MapKey::Int(7), value: Value::Null };
        assert_eq!(parse_step("map-put b 7 null"), Ok(put));
        let get = Operation::MapGetByKey { bin: bin(), key: MapKey::Text("7".to_owned()) };
        assert_eq!(parse_step(r#"map-get b "7""#), Ok(get.clone()));
        assert_eq!(parse_step("map-get b text:7"), Ok(get));
    }

    #[test]
    fn wrong_steps_say_what_is_wrong() {
        for (step, reason) in [
            ("", "missing"),
            ("fly b", "no step"),
            ("read", "the bin is missing"),
            ("add b", "the value is missing"),
            ("add b x", "not JSON"),
            ("put b 1e999", "fits neither"),
            ("read b c", "too much"),
            ("list-trim b 0 -1", "negative"),
            ("list-pop b x", "integer"),
            ("put \"b 1", "the bin"),
        ] {
            assert!(parse_step(step).expect_err(step).contains(reason), "{step}");
        }
    }
}
