//! Sleeping, waking up and changing places, among CPUs that do so at the same time: the order in which each writes and looks.
//!
//! Over words (`word.rs`) and a [`Board`], so that a model runs the same code in every interleaving. What is lost here is lost for ever:
//!
//! ```text
//!   who has news for a vCPU              the CPU that has it
//!   news := true                         status: Running -> Blocked
//!   status: Blocked -> Runnable, line    news?  then it wakes it itself
//!   or Running: kick
//!
//!   who wakes it                         the CPU that has its registers
//!   status: Blocked -> Runnable          on := NOWHERE
//!   line: who may take it?               Runnable?  then others are told
//! ```

use super::queue::{Queue, Times, Turn};
use crate::domain::vcpu::{NOWHERE, Status};
use crate::word::Word;

/// A vCPU as its own CPU and others see it at the same time.
pub trait Sleeper: Turn {
    /// What it does, a [`Status`].
    fn status(&self) -> &impl Word<u8>;
    /// Whether something concerns it that it has not looked at.
    fn news(&self) -> &impl Word<bool>;
    /// The CPU where it runs, or ran last.
    fn place(&self) -> &impl Word<usize>;
    /// The CPU that has its registers, or [`NOWHERE`].
    fn registers(&self) -> &impl Word<usize>;
}

/// The CPUs, and the line before them.
pub trait Board {
    /// Who waits in it.
    type Who: Sleeper;
    /// Lets `act` see the line, which nobody else sees meanwhile, at a time.
    fn with_line<R>(&self, act: impl FnOnce(&mut Queue<Self::Who>, u64, Times) -> R) -> R;
    /// Makes a CPU leave its guest, or wake up.
    fn kick(&self, cpu: usize);
    /// Lets a CPU, perhaps the one that calls, see whether its guest's turn is over, or wake up.
    fn look(&self, cpu: usize);
}

fn change(who: &impl Sleeper, from: Status, to: Status) -> bool {
    who.status().compare_exchange(from as u8, to as u8).is_ok()
}

/// Tells a vCPU that something is new for it.
pub fn notify<B: Board>(board: &B, who: &B::Who) {
    who.news().store(true);
    wake(board, who);
}

/// Looks at what is new: what comes from here on is news again.
pub fn look<R>(who: &impl Sleeper, act: impl FnOnce() -> R) -> R {
    who.news().store(false);
    act()
}

/// Wakes a vCPU if it sleeps, or takes it out of its guest if it runs.
pub fn wake<B: Board>(board: &B, who: &B::Who) {
    if change(who, Status::Blocked, Status::Runnable) {
        enqueue(board, who);
    } else if who.status().load() == Status::Running as u8 {
        // Should it go elsewhere meanwhile, it looks at its news there first.
        board.kick(who.place().load());
    }
}

/// Lets a vCPU start that is off, or being switched on by the caller; says whether it was.
pub fn start<B: Board>(board: &B, who: &B::Who) -> bool {
    let started = [Status::Off, Status::Starting].into_iter().any(|from| change(who, from, Status::Runnable));
    if started {
        enqueue(board, who);
    }
    started
}

fn enqueue<B: Board>(board: &B, who: &B::Who) {
    let told = board.with_line(|queue, now, times| queue.wake(who.clone(), now, times));
    told.into_iter().for_each(|cpu| board.look(cpu));
}

/// Puts a vCPU that ran on `cpu` to sleep, unless something is new for it.
pub fn block<B: Board>(board: &B, who: &B::Who, cpu: usize) {
    board.with_line(|queue, now, _| queue.leave(who, cpu, now));
    change(who, Status::Running, Status::Blocked);
    if who.news().load() {
        wake(board, who);
    }
}

/// Switches a vCPU off that ran on `cpu`.
pub fn stop<B: Board>(board: &B, who: &B::Who, cpu: usize) {
    board.with_line(|queue, now, _| queue.leave(who, cpu, now));
    change(who, Status::Running, Status::Off);
}

/// Returns who runs on `cpu` next, and where it was before.
pub fn take<B: Board>(board: &B, cpu: usize) -> Option<(B::Who, usize)> {
    let (taken, other) = board.with_line(|queue, now, times| {
        let (taken, other) = queue.take(cpu, now, times);
        let taken = taken.map(|who| {
            let before = who.place().swap(cpu);
            assert!(change(&who, Status::Runnable, Status::Running), "a vCPU waits that is not runnable");
            (who, before)
        });
        (taken, other)
    });
    other.into_iter().for_each(|cpu| board.look(cpu));
    taken
}

/// Puts a vCPU that ran on `cpu` back in the line, behind the others where it `yields`.
pub fn put_back<B: Board>(board: &B, who: &B::Who, cpu: usize, yields: bool) {
    if change(who, Status::Running, Status::Runnable) {
        let told = board.with_line(|queue, now, times| queue.put_back(who.clone(), cpu, yields, now, times));
        told.into_iter().for_each(|cpu| board.look(cpu));
    }
}

/// Lets others have a vCPU whose registers are on no CPU any more.
pub fn unloaded<B: Board>(board: &B, who: &B::Who) {
    who.registers().store(NOWHERE);
    if who.status().load() == Status::Runnable as u8 {
        let told = board.with_line(|queue, now, _| queue.offer(who, now));
        told.into_iter().for_each(|cpu| board.look(cpu));
    }
}
