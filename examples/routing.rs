//! Sessions in one memory, everything else in another: a crowd of visitors does not push out what
//! the shop needs for each of them.
//!
//! `cargo run --example routing`

use yokedcache::{Backend, Cache, Memory, Result, Route};

const PRODUCTS: usize = 20;
const VISITORS: usize = 1_000;

fn memory(max_size: usize) -> Result<Memory> {
    Memory::builder().max_size(max_size).build()
}

/// Fills the shop, lets visitors come, and counts the products that are still there.
fn a_busy_day(backend: impl Backend) -> Result<(Cache, usize)> {
    let cache = Cache::builder(backend).build()?;
    let products: Vec<_> = (0..PRODUCTS).map(|number| format!("product:{number}")).collect();
    for product in &products {
        cache.entry(product).tag("eu").set("described at length")?;
    }
    let sessions = cache.namespace("session");
    for visitor in 0..VISITORS {
        let region = if visitor % 2 == 0 { "eu" } else { "us" };
        // A tag is found wherever its entries live, but belongs to the namespace it is named in.
        cache.entry(format!("session:{visitor}")).tag(region).set(&visitor)?;
    }
    let last = sessions.get::<usize>((VISITORS - 1).to_string())?;
    println!("  the last visitor's session, by its namespace: {last:?}");
    let left = cache.get_many::<String>(&products)?.into_iter().flatten().count();
    Ok((cache, left))
}

fn show(cache: &Cache) {
    for (part, stats) in cache.stats().backend.children {
        let (held, evicted) = (stats.entries.unwrap_or(0), stats.evicted);
        println!("  {part:<8} {held:>4} entries, {evicted:>4} evicted");
    }
}

fn main() -> Result<()> {
    println!("one memory for all");
    let (_, left) = a_busy_day(memory(200)?)?;
    println!("  {left} of {PRODUCTS} products left after {VISITORS} visitors");

    println!("sessions in a memory of their own");
    let route = Route::builder(memory(100)?).route("session", memory(100)?).build()?;
    let (cache, left) = a_busy_day(route)?;
    println!("  {left} of {PRODUCTS} products left after {VISITORS} visitors");
    show(&cache);

    println!(
        "the tag `eu` is invalidated in both: {:?} entries",
        cache.invalidate_tags(["eu"])?.entries
    );
    show(&cache);

    println!("all sessions end: {:?} entries", cache.namespace("session").clear()?.entries);
    cache.set("product:0", "described anew")?;
    show(&cache);
    Ok(())
}
