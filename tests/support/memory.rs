//! How much memory a real process takes.

use std::io::ErrorKind;
use std::time::Duration;

use super::house::Call;

/// Bytes in a MiB.
const MIB: u64 = 1 << 20;

/// A run that was watched to its end.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Watched {
    pub(crate) code: Option<i32>,
    /// The most anonymous memory that was seen, in MiB. Pages of mapped files are not in it: the system takes those back.
    pub(crate) peak: u64,
}

/// Runs a program and looks every millisecond how much anonymous memory it has.
pub(crate) fn watch(call: Call) -> Watched {
    let mut child = call.spawn();
    let (status, exe) = (format!("/proc/{}/status", child.id()), format!("/proc/{}/exe", child.id()));
    let ours = std::fs::read_link("/proc/self/exe").unwrap();
    let mut peak = 0;
    loop {
        // Until it has become the program, what it has is ours: the kernel lets us go on a moment before that. Whose
        // program may not be looked up is not we any more.
        let begun =
            std::fs::read_link(&exe).map_or_else(|e| e.kind() == ErrorKind::PermissionDenied, |exe| exe != ours);
        let text = if begun { std::fs::read_to_string(&status).unwrap_or_default() } else { String::new() };
        let line = text.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap_or_default();
        let kib: u64 = line.trim().trim_end_matches(" kB").parse().unwrap_or_default();
        peak = peak.max(kib);
        if let Some(status) = child.try_wait().unwrap() {
            return Watched { code: status.code(), peak: (peak << 10).div_ceil(MIB) };
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

mod tests {
    use super::*;
    use crate::support::house::House;

    #[test]
    fn what_a_program_takes_is_seen() {
        let house = House::new();
        let small = watch(house.call("sh").args(["-c", "sleep 0.2"]));
        // The shell holds what it has read, and then lives on long enough to be seen.
        let large =
            watch(house.call("sh").args(["-c", "x=$(head -c 50000000 /dev/zero | tr '\\0' x); sleep 0.2; exit 3"]));
        assert_eq!((small.code, large.code), (Some(0), Some(3)));
        assert!(small.peak < 10 && large.peak >= 47, "{small:?} {large:?}");
    }
}
