//! What the client's tests share.
#![allow(dead_code, reason = "each test binary uses a part of it")]

pub mod faulty_node;
pub mod functions;
pub mod real_node;
pub mod relay;
