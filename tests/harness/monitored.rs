//! A command whose messages are read as they come.

use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStderr};
use tokio::time::timeout;

use super::{Command, LONG, Ran};

pub(crate) struct Monitored {
    pub(crate) child: Child,
    lines: Lines<BufReader<ChildStderr>>,
    messages: String,
}

impl Monitored {
    pub(crate) fn start(command: Command) -> Self {
        let mut child = command.spawn();
        let lines = BufReader::new(child.stderr.take().unwrap()).lines();
        Self { child, lines, messages: String::new() }
    }

    /// Waits for a message with these words.
    #[track_caller]
    pub(crate) fn says(&mut self, words: &str) -> impl Future<Output = String> {
        let caller = std::panic::Location::caller();
        async move {
            loop {
                let line = timeout(2 * LONG, self.lines.next_line()).await;
                let Ok(Ok(Some(line))) = line else {
                    panic!("{caller}: {words:?} does not come after {:?}", self.messages)
                };
                self.messages += &format!("{line}\n");
                if line.contains(words) {
                    return line;
                }
            }
        }
    }

    /// Waits for its end. The messages are all of them.
    pub(crate) async fn ended(mut self) -> Ran {
        let rest = async {
            while let Ok(Some(line)) = self.lines.next_line().await {
                self.messages += &format!("{line}\n");
            }
        };
        timeout(2 * LONG, rest).await.expect("it ends");
        Ran { stderr: self.messages, ..Ran::of(self.child).await }
    }
}
