//! Sudden death.

use std::process::Child;
use std::time::Duration;

use super::Numbers;

/// How a killing went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Killed {
    /// In the middle of its work, this long after the call.
    After(Duration),
    /// It had ended before; its exit code.
    TooLate(Option<i32>),
}

/// Sends SIGKILL at a random moment before `within` has passed, and waits until the process is gone.
pub(crate) fn kill9_at_random(child: &mut Child, within: Duration, numbers: &mut Numbers) -> Killed {
    let after = Duration::from_micros(numbers.below(within.as_micros().try_into().unwrap_or(u64::MAX).max(1)));
    std::thread::sleep(after);
    if let Some(status) = child.try_wait().unwrap() {
        return Killed::TooLate(status.code());
    }
    child.kill().unwrap();
    match child.wait().unwrap().code() {
        None => Killed::After(after),
        code => Killed::TooLate(code), // it ended between the question and the signal
    }
}

mod tests {
    use super::*;
    use crate::support::house::House;

    #[test]
    fn a_running_process_dies_within_the_time_and_an_ended_one_is_told_apart() {
        let house = House::new();
        let mut numbers = Numbers::seeded(7);
        let within = Duration::from_millis(50);
        let moments: Vec<Duration> = (0..3)
            .map(|_| match kill9_at_random(&mut house.call("sleep").arg("60").spawn(), within, &mut numbers) {
                Killed::After(after) => after,
                late @ Killed::TooLate(_) => panic!("{late:?}"),
            })
            .collect();
        assert!(moments.iter().all(|moment| *moment < within));
        assert!(moments[0] != moments[1] || moments[1] != moments[2], "{moments:?}");

        let mut ended = house.call("sh").args(["-c", "exit 5"]).spawn();
        ended.wait().unwrap();
        assert_eq!(kill9_at_random(&mut ended, Duration::from_millis(1), &mut numbers), Killed::TooLate(Some(5)));
    }
}
