//! What is left when a guest has taken all the memory there is: by itself, for other tests share the fake machine's.

use hypervisor::arch::start_memory;
use hypervisor::memory::frames::{self, RESERVE, State};
use hypervisor::memory::p2m::{Kind, NoMemory, P2m};
use hypervisor::memory::shared::SharedPage;
use hypervisor::memory::{Gfn, Mfn};

#[test]
fn guests_get_all_but_what_the_hypervisor_itself_needs() {
    start_memory();
    let mut p2m = P2m::new(40, 1).unwrap();
    // A page here and there costs a table each time.
    let place = |index: u64| Gfn(index * 512);
    let full = (0..1 << 19).find(|&index| p2m.set(place(index), Mfn(7), 1, Kind::Device) == Err(NoMemory));
    let full = full.expect("there is less memory than that");
    assert_eq!(frames::counts().1, RESERVE);
    assert!(frames::allocate_as(0, 1, State::Domain).is_none() && SharedPage::lend(1).is_none());
    assert!(frames::allocate_spare(0).is_none() && P2m::new(40, 2).is_err());
    let own: Vec<Mfn> = (0..RESERVE).map_while(|_| frames::allocate(0)).collect();
    assert_eq!(own.len() as u64, RESERVE);
    own.into_iter().for_each(|frame| frames::free(frame, 0));
    // What it gives back it gets again.
    p2m.clear(place(0), 1).unwrap();
    assert_eq!(p2m.set(place(full), Mfn(7), 1, Kind::Device), Ok(()));
    assert_eq!(p2m.get(place(full)), Some((Mfn(7), Kind::Device)));
}
