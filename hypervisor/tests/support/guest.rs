//! A guest's side of event channels, as Linux does it, over any kind of word.

use hypervisor::event::fifo::{LINK, LINKED, MASKED, PENDING, QUEUES};
use hypervisor::word::Word;

/// A vCPU's own heads of its queues.
#[derive(Default)]
pub struct Consumer {
    heads: [u32; QUEUES],
}

impl Consumer {
    /// Serves one upcall: hands every port that is due to `handle`, which has to see to its PENDING, as a device's driver does.
    /// `control` are the 18 words of the control block.
    pub fn serve<W: Word<u32>>(
        &mut self,
        control: &[W],
        word: impl Fn(u32) -> usize,
        words: &[W],
        mut handle: impl FnMut(u32),
    ) {
        let mut ready = control[0].swap(0);
        while ready != 0 {
            let queue = ready.trailing_zeros() as usize;
            if self.heads[queue] == 0 {
                self.heads[queue] = control[2 + queue].load();
            }
            let port = self.heads[queue];
            if port == 0 {
                ready &= !(1 << queue);
                continue;
            }
            let link = take(&words[word(port)]);
            if link == 0 {
                ready &= !(1 << queue);
            }
            self.heads[queue] = link;
            let now = words[word(port)].load();
            if now & PENDING != 0 && now & MASKED == 0 {
                handle(port);
            }
            ready |= control[0].swap(0);
        }
    }
}

/// Takes a word off its queue and returns its link.
fn take(word: &impl Word<u32>) -> u32 {
    let mut seen = word.load();
    loop {
        match word.compare_exchange(seen, seen & !(LINKED | LINK)) {
            Ok(_) => return seen & LINK,
            Err(now) => seen = now,
        }
    }
}
