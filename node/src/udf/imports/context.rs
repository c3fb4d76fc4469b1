//! `context`: the call under way.

use wasmtime::Result;

use crate::udf::bindings::outcrop::udf::context::{Host, LogLevel};
use crate::udf::outcome;
use crate::udf::state::CallState;

impl Host for CallState {
    fn now_ms(&mut self) -> Result<u64> {
        self.charge()?;
        Ok(self.now_ms)
    }

    fn seed(&mut self) -> Result<u64> {
        self.charge()?;
        Ok(self.seed)
    }

    fn namespace(&mut self) -> Result<String> {
        self.charge()?;
        Ok(self.namespace.as_ref().map(|namespace| namespace.policy.name.clone()).unwrap_or_default())
    }

    fn log(&mut self, level: LogLevel, message: String) -> Result<()> {
        self.charge()?;
        let level = match level {
            LogLevel::Debug => outcome::LogLevel::Debug,
            LogLevel::Info => outcome::LogLevel::Info,
            LogLevel::Warn => outcome::LogLevel::Warn,
            LogLevel::Error => outcome::LogLevel::Error,
        };
        CallState::log(self, level, message);
        Ok(())
    }

    fn count(&mut self, name: String, delta: u64) -> Result<()> {
        self.charge()?;
        CallState::count(self, name, delta);
        Ok(())
    }
}
