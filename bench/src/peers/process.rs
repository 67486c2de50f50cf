//! A program of DPDK that polls one core and says every second how many packets it has sent: what a packet costs it is the
//! processor time it took by the packets it sent, because it never waits.

use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use warren_port::cycles;

use crate::rounds::Rounds;

/// How long a program may say nothing: what it says comes every second, and it starts in less.
const SILENCE_MAX: Duration = Duration::from_secs(20);
/// How long it may take to write its files and end after it was asked to.
const GRACE: Duration = Duration::from_secs(10);
/// Seconds at the start that are not measured: memory is touched for the first time, caches fill.
const WARM_UP: usize = 1;
/// Lines of what it said that an error repeats.
const LAST_WORDS: usize = 4;

/// Which words of its output count packets.
pub(super) struct Words {
    /// A line with them starts what counts.
    pub(super) section: &'static str,
    /// Packets sent since it started follow them.
    pub(super) sent: &'static str,
    /// Packets dropped, if it says so.
    pub(super) dropped: Option<&'static str>,
}

/// What it had done at a time.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Look {
    sent: u64,
    processor: Duration,
}

/// One line of output, and the processor time that the program had taken when it came.
type Heard = (String, Duration);

/// The program while it runs. It is ended when this is dropped.
pub(super) struct Running {
    child: Child,
    lines: Receiver<Heard>,
    said: Vec<String>,
    name: String,
}

impl Running {
    /// Starts it. Its output comes line by line, though it goes to no terminal.
    pub(super) fn start<S: AsRef<OsStr>>(program: &Path, words: &[S], folder: &Path) -> Result<Self, String> {
        let name = program.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
        let mut command = Command::new("stdbuf");
        command.args(["--output=L", "--error=L"]).arg(program).args(words).current_dir(folder);
        // Else its sockets and maps stay behind in the system's.
        command.env("RUNTIME_DIRECTORY", folder);
        let failed = |error| format!("{name} cannot be started: {error}");
        let (reader, writer) = std::io::pipe().map_err(failed)?;
        let errors = writer.try_clone().map_err(failed)?;
        let child = command.stdin(Stdio::null()).stdout(writer).stderr(errors).spawn().map_err(failed)?;
        let (sender, lines) = channel();
        let threads = PathBuf::from(format!("/proc/{}/task", child.id()));
        // Ends by itself: the last writer is the program.
        std::thread::spawn(move || {
            for line in BufReader::new(reader).split(b'\n').map_while(Result::ok) {
                let heard = (String::from_utf8_lossy(&line).into_owned(), processor_time(&threads));
                if sender.send(heard).is_err() {
                    break;
                }
            }
        });
        Ok(Self { child, lines, said: Vec::new(), name })
    }

    /// Cycles for one packet in each of so many seconds. Refuses when packets were dropped or none were sent.
    pub(super) fn measure(&mut self, words: &Words, seconds: usize) -> Result<Rounds, String> {
        let looks = (0..=WARM_UP + seconds).map(|_| self.look(words)).collect::<Result<Vec<_>, String>>()?;
        let hertz = cycles::per_second();
        looks[WARM_UP..]
            .windows(2)
            .map(|pair| {
                let packets = pair[1].sent.saturating_sub(pair[0].sent);
                let processor = pair[1].processor.saturating_sub(pair[0].processor);
                match packets {
                    0 => Err(format!("{} sends nothing", self.name)),
                    _ => Ok(processor.as_secs_f64() * hertz / packets as f64),
                }
            })
            .collect()
    }

    /// Waits for the next time that it says what it has done.
    fn look(&mut self, words: &Words) -> Result<Look, String> {
        let mut sent = None;
        let mut inside = false;
        loop {
            let (line, processor) = self.hear()?;
            inside |= line.contains(words.section);
            if !inside {
                continue;
            }
            if let Some(number) = number_after(&line, words.sent) {
                sent = Some(Look { sent: number, processor });
            }
            match (sent, words.dropped) {
                (Some(look), None) => return Ok(look),
                (Some(look), Some(dropped)) => match number_after(&line, dropped) {
                    Some(0) => return Ok(look),
                    Some(number) => return Err(format!("{} has dropped {number} packets", self.name)),
                    None => {}
                },
                (None, _) => {}
            }
        }
    }

    /// Lets it work until it has sent so many packets.
    pub(super) fn until_sent(&mut self, words: &Words, packets: u64) -> Result<(), String> {
        let until = Instant::now() + SILENCE_MAX;
        while self.look(words)?.sent < packets {
            if Instant::now() > until {
                return Err(format!("{} does not let every packet out", self.name));
            }
        }
        Ok(())
    }

    fn hear(&mut self) -> Result<Heard, String> {
        match self.lines.recv_timeout(SILENCE_MAX) {
            Ok((line, processor)) => {
                self.said.push(line.clone());
                Ok((line, processor))
            }
            Err(RecvTimeoutError::Timeout) => Err(format!("{} says nothing any more", self.name)),
            Err(RecvTimeoutError::Disconnected) => {
                let said: Vec<_> = self.said.iter().filter(|line| !line.trim().is_empty()).collect();
                let last = &said[said.len().saturating_sub(LAST_WORDS)..];
                let last: Vec<_> = last.iter().map(|line| line.trim()).collect();
                Err(format!("{} ended: {}", self.name, last.join(" / ")))
            }
        }
    }

    /// Asks it to end, as a terminal would, and waits until its files are written.
    pub(super) fn end(mut self) -> Result<(), String> {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        let failed = |error: &dyn std::fmt::Display| format!("ending {}: {error}", self.name);
        kill_process(pid.ok_or("no process")?, Signal::INT).map_err(|error| failed(&error))?;
        let until = Instant::now() + GRACE;
        while Instant::now() < until {
            if self.child.try_wait().map_err(|error| failed(&error))?.is_some() {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Err(format!("{} does not end", self.name))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It has ended already, or it did not want to.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs a program to its end and returns what it said.
pub(super) fn run(command: &mut Command, span: Duration) -> Result<String, String> {
    let name = Path::new(command.get_program()).display().to_string();
    let failed = |error| format!("{name}: {error}");
    let (mut reader, writer) = std::io::pipe().map_err(failed)?;
    let errors = writer.try_clone().map_err(failed)?;
    let mut child = command.stdin(Stdio::null()).stdout(writer).stderr(errors).spawn().map_err(failed)?;
    // With our own ends open the reader would never see its end.
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let listener = std::thread::spawn(move || {
        let mut said = Vec::new();
        let read = reader.read_to_end(&mut said);
        read.map(|_| String::from_utf8_lossy(&said).into_owned())
    });
    let until = Instant::now() + span;
    let status = loop {
        if let Some(status) = child.try_wait().map_err(failed)? {
            break Some(status);
        }
        if Instant::now() > until {
            let _ = child.kill();
            let _ = child.wait();
            break None;
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    let said = listener.join().map_err(|_| format!("{name}: nobody listened"))?.map_err(failed)?;
    match status {
        Some(status) if status.success() => Ok(said),
        Some(status) => Err(format!("{name}: {status}: {}", said.lines().last().unwrap_or_default())),
        None => Err(format!("{name} did not end within {} s", span.as_secs())),
    }
}

/// Processor time of all threads of a process: but for the one that polls they sleep.
fn processor_time(threads: &Path) -> Duration {
    let of_one = |thread: PathBuf| -> Option<u64> {
        fs::read_to_string(thread.join("schedstat")).ok()?.split_whitespace().next()?.parse().ok()
    };
    let Ok(listed) = fs::read_dir(threads) else { return Duration::ZERO };
    Duration::from_nanos(listed.flatten().filter_map(|thread| of_one(thread.path())).sum())
}

/// The whole number that follows those words in a line.
fn number_after(line: &str, words: &str) -> Option<u64> {
    line.split_once(words)?.1.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const WORDS: Words =
        Words { section: "Aggregate", sent: "packets sent:", dropped: Some("packets dropped:") };

    /// A shell that says what a gateway would.
    fn saying(script: &str) -> Running {
        Running::start(Path::new("sh"), &["-c", script], Path::new("/")).unwrap()
    }

    const PACKETS: &str = "n=0; while :; do n=$((n+1000)); \
        printf 'packets sent: 7\\nAggregate\\npackets sent: %s\\npackets dropped: DROPPED\\n' $n; sleep 0.05; done";

    #[test]
    fn rounds_are_processor_time_by_packets() {
        let mut running = saying(&PACKETS.replace("DROPPED", "0"));
        let rounds = running.measure(&WORDS, 3).unwrap();
        assert_eq!(rounds.len(), 3);
        // A shell that mostly sleeps takes less than a millisecond for a thousand.
        assert!(rounds.median() < 0.05 * cycles::per_second() / 1000.0, "{}", rounds.median());
        running.end().unwrap();
    }

    #[test]
    fn dropped_packets_and_silence_are_no_figures() {
        let mut running = saying(&PACKETS.replace("DROPPED", "3"));
        assert!(running.measure(&WORDS, 1).unwrap_err().contains("dropped 3"));
        let mut stuck = saying(
            "while :; do printf 'Aggregate\\npackets sent: 5\\npackets dropped: 0\\n'; sleep 0.05; done",
        );
        assert!(stuck.measure(&WORDS, 2).unwrap_err().contains("sends nothing"));
        let mut gone = saying("echo cannot >&2; exit 1");
        assert!(gone.measure(&WORDS, 1).unwrap_err().contains("ended: cannot"));
    }

    #[test]
    fn a_command_that_hangs_is_ended() {
        let error = run(Command::new("sleep").arg("60"), Duration::from_millis(100)).unwrap_err();
        assert!(error.contains("did not end"), "{error}");
        assert_eq!(run(Command::new("echo").arg("word"), Duration::from_secs(10)).unwrap(), "word\n");
    }
}
