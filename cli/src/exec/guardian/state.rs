//! What a guardian does when: a table of states and events, without system calls.

/// What the guardian knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// There is no command: not yet, or no longer.
    Waiting,
    /// The command runs under its lock.
    Guarding,
    /// The command was asked to stop, or is not to be asked. Only its deadline is left.
    Stopping,
    /// The command was killed. The runner may find out later, or be killed before it does.
    Killed,
    /// The runner is gone. The command was asked to stop, and has a short time for that.
    Alone,
    /// There is nothing left to do.
    Done,
}

/// What the guardian sees when it wakes up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Event {
    /// There is a command.
    CommandRuns,
    /// There is none. Once the runner is gone, the system says so; before that, the runner does.
    CommandIsGone,
    /// The runner has ended, and so has every process that was about to become a command.
    RunnerIsGone,
    /// The lock is held, and the command need not stop.
    InTime,
    /// It is time to ask the command to stop.
    StopIsDue,
    /// The runner has asked the command, or it is to be killed without being asked.
    NotToAsk,
    /// It is time to kill the command.
    KillIsDue,
}

/// What the guardian does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    Nothing,
    /// Asks the command to stop.
    Ask,
    Kill,
}

impl State {
    /// The state after an event, and what is to be done.
    ///
    /// A guardian without a command stays at all deadlines: the runner may renew the lock and start a command after that.
    pub(super) fn on(self, event: Event) -> (Self, Action) {
        use Action::{Ask, Kill, Nothing};
        use Event::{CommandIsGone, CommandRuns, InTime, KillIsDue, NotToAsk, RunnerIsGone, StopIsDue};
        use State::{Alone, Done, Guarding, Killed, Stopping, Waiting};
        match (self, event) {
            (Waiting, CommandRuns) => (Guarding, Nothing),
            (Waiting, RunnerIsGone) => (Done, Nothing),
            (Waiting, CommandIsGone | InTime | StopIsDue | NotToAsk | KillIsDue) => (Waiting, Nothing),

            (Guarding, CommandIsGone) => (Waiting, Nothing),
            (Guarding, RunnerIsGone) => (Alone, Ask),
            (Guarding, StopIsDue) => (Stopping, Ask),
            (Guarding, NotToAsk) => (Stopping, Nothing),
            (Guarding, KillIsDue) => (Killed, Kill),
            (Guarding, CommandRuns | InTime) => (Guarding, Nothing),

            (Stopping, CommandIsGone) => (Waiting, Nothing),
            (Stopping, RunnerIsGone) => (Alone, Nothing),
            // The runner was continued just in time to renew the lock.
            (Stopping, InTime) => (Guarding, Nothing),
            (Stopping, KillIsDue) => (Killed, Kill),
            (Stopping, CommandRuns | StopIsDue | NotToAsk) => (Stopping, Nothing),

            (Killed, CommandIsGone) => (Waiting, Nothing),
            (Killed, RunnerIsGone) => (Done, Nothing),
            (Killed, CommandRuns | InTime | StopIsDue | NotToAsk | KillIsDue) => (Killed, Nothing),

            (Alone, CommandIsGone) => (Done, Nothing),
            (Alone, KillIsDue) => (Done, Kill),
            (Alone, CommandRuns | RunnerIsGone | InTime | StopIsDue | NotToAsk) => (Alone, Nothing),

            (Done, _) => (Done, Nothing),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Action::{Ask, Kill, Nothing};
    use State::{Alone, Done, Guarding, Killed, Stopping, Waiting};

    const EVENTS: [Event; 7] = [
        Event::CommandRuns,
        Event::CommandIsGone,
        Event::RunnerIsGone,
        Event::InTime,
        Event::StopIsDue,
        Event::NotToAsk,
        Event::KillIsDue,
    ];

    /// The next state and the action for each of the events above.
    #[rustfmt::skip]
    const TABLE: [(State, [(State, Action); 7]); 6] = [
        //          command runs         command is gone     runner is gone      in time               stop is due          not to ask           kill is due
        (Waiting,  [(Guarding, Nothing), (Waiting, Nothing), (Done, Nothing),    (Waiting, Nothing),   (Waiting, Nothing),  (Waiting, Nothing),  (Waiting, Nothing)]),
        (Guarding, [(Guarding, Nothing), (Waiting, Nothing), (Alone, Ask),       (Guarding, Nothing),  (Stopping, Ask),     (Stopping, Nothing), (Killed, Kill)]),
        (Stopping, [(Stopping, Nothing), (Waiting, Nothing), (Alone, Nothing),   (Guarding, Nothing),  (Stopping, Nothing), (Stopping, Nothing), (Killed, Kill)]),
        (Killed,   [(Killed, Nothing),   (Waiting, Nothing), (Done, Nothing),    (Killed, Nothing),    (Killed, Nothing),   (Killed, Nothing),   (Killed, Nothing)]),
        (Alone,    [(Alone, Nothing),    (Done, Nothing),    (Alone, Nothing),   (Alone, Nothing),     (Alone, Nothing),    (Alone, Nothing),    (Done, Kill)]),
        (Done,     [(Done, Nothing),     (Done, Nothing),    (Done, Nothing),    (Done, Nothing),      (Done, Nothing),     (Done, Nothing),     (Done, Nothing)]),
    ];

    #[test]
    fn every_cell_of_the_table_is_as_it_should_be() {
        for (state, cells) in TABLE {
            for (event, cell) in EVENTS.into_iter().zip(cells) {
                assert_eq!(state.on(event), cell, "{state:?} on {event:?}");
            }
        }
    }

    #[test]
    fn no_command_that_runs_outlives_its_deadline() {
        for state in [Guarding, Stopping, Alone] {
            assert_eq!(state.on(Event::KillIsDue).1, Kill, "{state:?}");
        }
        // A command that is announced at its deadline is killed at the same wake-up.
        let (state, _) = Waiting.on(Event::CommandRuns);
        assert_eq!(state.on(Event::KillIsDue), (Killed, Kill));
    }

    #[test]
    fn a_command_that_has_its_lock_and_its_runner_is_left_alone() {
        for state in [Waiting, Guarding, Stopping] {
            for event in [Event::CommandRuns, Event::InTime] {
                assert_eq!(state.on(event).1, Nothing, "{state:?} on {event:?}");
            }
        }
    }
}
