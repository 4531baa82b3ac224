//! Who gives way, and who stays.

use std::net::Ipv4Addr;
use std::task::Waker;

use uuid::Uuid;

use super::*;

fn address(last: u8) -> IpAddr {
    Ipv4Addr::new(10, 0, 0, last).into()
}

fn tenant(number: u128) -> TenantId {
    TenantId(Uuid::from_u128(number))
}

fn gave_way(place: &Place) -> bool {
    place.gave_way(&mut Context::from_waker(Waker::noop()))
}

#[test]
fn the_address_with_its_share_gives_up_its_own_longest_waiting_connection() {
    let places = Places::new(PlaceLimits { connections: 100, per_address: 2 });
    let [first, other] = [address(1), address(2)].map(|of| places.enter(of, false).expect("a place"));
    let second = places.enter(address(1), false).expect("a place");
    let third = places.enter(address(1), false).expect("the place of the first");
    assert_eq!([&first, &second, &third, &other].map(|place| gave_way(place)), [true, false, false, false]);
    second.is_answered();
    third.is_answered();
    assert!(places.enter(address(1), false).is_none(), "both are being answered");
    second.waits_again(false);
    places.enter(address(1), false).expect("the place of the one that waits again");
    assert!(gave_way(&second) && !gave_way(&third));
}

#[test]
fn connections_without_a_token_never_take_the_last_half() {
    let places = Places::new(PlaceLimits { connections: 8, per_address: 8 });
    let without: Vec<_> = (0..6).map(|last| places.enter(address(last), false).expect("a place")).collect();
    assert_eq!(without.iter().filter(|place| gave_way(place)).count(), 2);
    for place in &without[2..] {
        place.believe(tenant(1));
    }
    let others: Vec<_> = (10..14).map(|last| places.enter(address(last), false).expect("a place")).collect();
    assert!(without[2..].iter().chain(&others).all(|place| !gave_way(place)));
    let newest = places.enter(address(20), false).expect("the place of the longest waiting");
    assert!(gave_way(&others[0]) && !gave_way(&newest));
}

#[test]
fn a_tenant_with_its_share_gets_no_more_places_that_stay() {
    let places = Places::new(PlaceLimits { connections: 4, per_address: 4 });
    let of_tenant: Vec<_> = (0..3)
        .map(|last| {
            let place = places.enter(address(last), false).expect("a place");
            place.believe(tenant(1));
            place
        })
        .collect();
    let next = places.enter(address(9), false).expect("a place");
    let other = places.enter(address(8), false).expect("a place");
    assert_eq!(of_tenant.iter().map(|place| gave_way(place)).collect::<Vec<_>>(), [false, false, true]);
    other.believe(tenant(2));
    assert!(!gave_way(&other) && !gave_way(&next));
}

#[test]
fn tenants_that_have_taken_all_places_leave_an_eighth_to_newer_connections() {
    let places = Places::new(PlaceLimits { connections: 16, per_address: 16 });
    let of_tenants: Vec<_> = (0..16)
        .map(|number| {
            let place = places.enter(address(number), false).expect("a place");
            place.is_answered();
            place.believe(tenant(u128::from(number / 7)));
            // The first is still being answered, and the second is a stream.
            if number > 0 {
                place.waits_again(number == 1);
            }
            place
        })
        .collect();
    let newer: Vec<_> = (20..24).map(|last| places.enter(address(last), false).expect("a place")).collect();
    // Both are of the tenants with the most connections. The newer ones then drive out themselves.
    assert_eq!(of_tenants[..14].iter().filter(|place| gave_way(place)).count(), 2);
    assert!(of_tenants[..2].iter().chain(&of_tenants[14..]).all(|place| !gave_way(place)));
    assert_eq!(newer.iter().map(|place| gave_way(place)).collect::<Vec<_>>(), [true, true, false, false]);
    drop((of_tenants, newer));
    let taken = places.taken();
    assert_eq!((taken.all, taken.without_token), (0, 0));
    assert!(taken.by_tenant.is_empty());
}

#[test]
fn a_closed_connection_leaves_its_place() {
    let places = Places::new(PlaceLimits { connections: 2, per_address: 1 });
    for round in 0..100 {
        let place = places.enter(address(1), round % 2 == 0).expect("a place");
        place.is_answered();
        place.believe(tenant(1));
        place.waits_again(false);
    }
    let driven_out = places.enter(address(1), false).expect("a place");
    let newer = places.enter(address(1), false).expect("a place");
    drop((driven_out, newer));
    let taken = places.taken();
    assert_eq!((taken.all, taken.without_token), (0, 0));
    assert!(taken.waiting.is_empty() && taken.by_address.is_empty() && taken.by_tenant.is_empty());
}
