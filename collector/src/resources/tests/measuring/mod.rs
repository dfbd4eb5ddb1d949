//! Measuring containers and host: from recorded files, a fake engine and this machine.

mod api;
mod cgroup;
mod host;
mod model;
mod sampler;

use jiff::Timestamp;

use crate::resources::model::{Pressure, Reading};

fn at(milliseconds: i64) -> Timestamp {
    Timestamp::from_millisecond(1_800_000_000_000 + milliseconds).unwrap()
}

fn reading(cpu_ns: u64) -> Reading {
    Reading {
        at: at(0),
        cpu_ns,
        cpu_limit_cores: None,
        cpu_periods: None,
        mem_working_set: None,
        mem_anon: None,
        mem_limit: None,
        mem_ceiling: None,
        net: None,
        block: None,
        pids: None,
        pressure: Pressure::default(),
    }
}
