//! CPU time and memory of processes, from `/proc`.

use std::fs;
use std::time::Duration;

/// `USER_HZ`, in which `/proc` counts; 100 on every Linux that matters.
const TICKS_PER_SECOND: u64 = 100;

/// User and system time of a process so far; zero when it is gone.
#[must_use]
pub fn cpu_time(pid: u32) -> Duration {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // The name may hold anything, parentheses too; what follows it starts at field 3.
    let fields = stat.rsplit_once(')').map_or("", |(_, fields)| fields);
    let times = fields.split_whitespace().skip(11).take(2);
    ticks(times.filter_map(|field| field.parse::<u64>().ok()).sum())
}

/// Sum over several processes.
#[must_use]
pub fn cpu_times(pids: &[u32]) -> Duration {
    pids.iter().map(|pid| cpu_time(*pid)).sum()
}

/// Time that all CPUs spent not idle since boot.
#[must_use]
pub fn busy_time() -> Duration {
    let stat = fs::read_to_string("/proc/stat").unwrap_or_default();
    let line = stat.lines().next().unwrap_or_default();
    let fields = line
        .split_whitespace()
        .skip(1)
        .filter_map(|field| field.parse::<u64>().ok());
    // user nice system idle iowait irq softirq steal; guest time is in user already.
    let busy = fields
        .take(8)
        .enumerate()
        .filter(|(number, _)| *number != 3 && *number != 4);
    ticks(busy.map(|(_, value)| value).sum())
}

/// Resident memory of a process in bytes; zero when it is gone.
#[must_use]
pub fn resident_bytes(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .unwrap_or_default();
    line.split_whitespace()
        .next()
        .and_then(|kib| kib.parse::<u64>().ok())
        .unwrap_or(0)
        * 1024
}

fn ticks(count: u64) -> Duration {
    Duration::from_millis(count * 1_000 / TICKS_PER_SECOND)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_uses_time_and_memory() {
        let own = std::process::id();
        let before = cpu_time(own);
        let started = std::time::Instant::now();
        while started.elapsed() < Duration::from_millis(100) {
            std::hint::spin_loop();
        }
        assert!(cpu_time(own) > before);
        assert!(busy_time() > cpu_time(own));
        assert!(resident_bytes(own) > 500_000);
        assert_eq!(
            (cpu_time(u32::MAX), resident_bytes(u32::MAX)),
            (Duration::ZERO, 0)
        );
    }
}
