//! `outcrop codes`: the error codes, what each means and what to do.

use clap::Args;
use outcrop_client::{Code, Retry, Value};

use crate::failure::{Exit, Failure};
use crate::output::{Out, OutputFormat, object, table};

const HELP: &str = "\
Examples:
  outcrop codes
  outcrop codes stop_writes
  outcrop codes 302 --output json";

/// List the error codes.
#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub struct CodesArgs {
    /// Only this one, by number or name
    pub code: Option<String>,
    /// How to print
    #[arg(short = 'o', long, value_enum, default_value = "table")]
    pub output: OutputFormat,
}

/// Prints the codes.
pub fn run(args: &CodesArgs) -> Result<Exit, Failure> {
    let wanted = |code: &&Code| match args.code.as_deref() {
        None => true,
        Some(text) => code.name() == text || (**code as u16).to_string() == text,
    };
    let codes: Vec<&Code> = Code::ALL.iter().filter(wanted).collect();
    if let ([], Some(text)) = (codes.as_slice(), &args.code) {
        return Err(Failure::usage(format!("there is no code {text:?}"), "`outcrop codes` lists them all."));
    }
    let mut out = Out::new();
    match args.output {
        OutputFormat::Json => {
            for code in codes {
                out.json(&as_object(*code))?;
            }
        }
        OutputFormat::Table => {
            let mut table = table(["code", "name", "exit", "retry", "meaning", "what to do"]);
            for code in codes {
                let exit = Exit::of_code(*code) as u8;
                let (number, retry) = ((*code as u16).to_string(), retry_name(*code));
                let row = [&number, code.name(), &exit.to_string(), retry, code.meaning(), code.advice()];
                table.add_row(row.map(str::to_owned));
            }
            out.table(&table)?;
        }
    }
    out.flush()?;
    Ok(Exit::Ok)
}

fn retry_name(code: Code) -> &'static str {
    match code.retry() {
        Retry::Never => "no",
        Retry::Backoff => "later",
        Retry::IfIdempotent => "if harmless",
    }
}

fn as_object(code: Code) -> Value {
    object([
        ("code", i64::from(code as u16).into()),
        ("name", code.name().into()),
        ("exit", i64::from(Exit::of_code(code) as u8).into()),
        ("retry", retry_name(code).into()),
        ("meaning", code.meaning().into()),
        ("advice", code.advice().into()),
    ])
}
