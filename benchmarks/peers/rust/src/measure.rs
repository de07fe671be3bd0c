//! What every program measures: CPU time of the whole process, wall time, resident memory.

use serde_json::{json, Value};
use std::io::Write;

pub struct Meter {
    cpu: f64,
    wall: i64,
    rss: i64,
}

impl Meter {
    pub fn new() -> Self {
        Meter { cpu: cpu_seconds(), wall: monotonic(), rss: resident_bytes() }
    }

    pub fn read(&self) -> Value {
        let rss = resident_bytes();
        json!({
            "cpu": cpu_seconds() - self.cpu,
            "wall": (monotonic() - self.wall) as f64 / 1e9,
            "rss_delta": rss - self.rss,
            "rss": rss,
        })
    }
}

/// Prints one line for the driver.
pub fn say(phase: &str, mut values: Value) {
    values["phase"] = json!(phase);
    let mut out = std::io::stdout().lock();
    writeln!(out, "{values}").and_then(|()| out.flush()).expect("standard output is open");
}

/// The clock that the stub stamps events with, in nanoseconds.
pub fn monotonic() -> i64 {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the pointer is to a live value of the right type.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut now) };
    now.tv_sec * 1_000_000_000 + now.tv_nsec
}

fn cpu_seconds() -> f64 {
    // SAFETY: all zeroes is a valid rusage, and the pointer is to a live value.
    let usage = unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        libc::getrusage(libc::RUSAGE_SELF, &mut usage);
        usage
    };
    let seconds = |time: libc::timeval| time.tv_sec as f64 + time.tv_usec as f64 / 1e6;
    seconds(usage.ru_utime) + seconds(usage.ru_stime)
}

fn resident_bytes() -> i64 {
    let content = std::fs::read_to_string("/proc/self/statm").expect("Linux has /proc");
    let pages: i64 = content.split_whitespace().nth(1).and_then(|text| text.parse().ok()).expect("statm");
    // SAFETY: no preconditions.
    pages * unsafe { libc::sysconf(libc::_SC_PAGESIZE) }
}
