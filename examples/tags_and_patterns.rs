//! A shop's cache: what tags, patterns and namespaces remove, and what they leave.
//!
//! `cargo run --example tags_and_patterns`

use serde::{Deserialize, Serialize};
use yokedcache::{Cache, Pattern, Removed, Result};

#[derive(Debug, Serialize, Deserialize)]
struct Product {
    name: String,
    cents: u32,
}

const PRODUCTS: [(&str, &str, u32, [&str; 2]); 6] = [
    ("product:1", "Kettle", 3_900, ["kitchen", "sale"]),
    ("product:2", "Pan", 5_400, ["kitchen", "new"]),
    ("product:3", "Lamp", 2_800, ["living", "sale"]),
    ("product:4", "Rug", 9_900, ["living", "new"]),
    ("product:15", "Knife", 2_200, ["kitchen", "sale"]),
    ("product:16", "Vase", 1_700, ["living", "clearance"]),
];

fn fill(shop: &Cache) -> Result<()> {
    for (key, name, cents, tags) in PRODUCTS {
        shop.entry(key).tags(tags).set(&Product { name: name.into(), cents })?;
    }
    shop.entry("category:kitchen").tags(["kitchen"]).set(&["Kettle", "Pan", "Knife"])?;
    shop.entry("category:living").tags(["living"]).set(&["Lamp", "Rug", "Vase"])?;
    for (country, factor) in [("de", 119), ("ch", 108)] {
        let prices = shop.namespace("price").namespace(country);
        for (key, _, cents, [category, _]) in PRODUCTS {
            prices.entry(key).tag(category).set(&(cents * factor / 100))?;
        }
    }
    Ok(())
}

/// One step: what was called, how many entries it removed, and what remains.
fn show(shop: &Cache, step: &str, removed: Removed) -> Result<()> {
    let keys = shop.keys("*")?;
    println!("\n{step}");
    println!("  removed {}, {} remain:", removed.entries.unwrap_or(0), keys.len());
    for group in ["product:", "category:", "price:de:", "price:ch:"] {
        let rest: Vec<_> = keys.iter().filter_map(|key| key.strip_prefix(group)).collect();
        println!("  {group:<10} {}", if rest.is_empty() { "-".into() } else { rest.join(" ") });
    }
    Ok(())
}

fn by_tag(shop: &Cache) -> Result<()> {
    let named = shop.dry_run().invalidate_tags_all(["kitchen", "sale"])?;
    println!("\ndry_run().invalidate_tags_all([\"kitchen\", \"sale\"])\n  would remove {named:?}");
    let removed = shop.invalidate_tags_all(["kitchen", "sale"])?;
    show(shop, r#"invalidate_tags_all(["kitchen", "sale"]): entries with both"#, removed)?;

    let removed = shop.invalidate_tags(["new", "clearance"])?;
    show(shop, r#"invalidate_tags(["new", "clearance"]): entries with either"#, removed)?;

    // A tag belongs to its namespace: the shop's own "kitchen" entries stay.
    let removed = shop.namespace("price").namespace("ch").invalidate_tags(["kitchen"])?;
    show(shop, r#"price:ch: invalidate_tags(["kitchen"])"#, removed)
}

fn by_pattern(shop: &Cache) -> Result<()> {
    fill(shop)?;
    let removed = shop.invalidate_pattern("product:[1-3]")?;
    show(shop, r#"filled again; invalidate_pattern("product:[1-3]")"#, removed)?;

    let removed = shop.invalidate_pattern(Pattern::regex(r"^price:\w+:product:\d\d$")?)?;
    show(shop, r"invalidate_pattern(Pattern::regex(r'^price:\w+:product:\d\d$'))", removed)
}

fn by_namespace(shop: &Cache) -> Result<()> {
    let prices = shop.namespace("price");
    println!(
        "\nprice: dry_run().clear()\n  would remove {} entries",
        prices.dry_run().clear()?.len()
    );
    let removed = prices.namespace("de").clear()?;
    show(shop, "price:de: clear()", removed)?;
    let removed = prices.clear()?;
    show(shop, "price: clear(), which reaches all countries", removed)
}

fn main() -> Result<()> {
    let cache = Cache::memory(1_000);
    let shop = cache.namespace("shop");
    cache.set("session:1", "not the shop's")?;
    fill(&shop)?;
    show(&shop, "filled", Removed::default())?;

    by_tag(&shop)?;
    by_pattern(&shop)?;
    by_namespace(&shop)?;

    let removed = shop.clear()?;
    show(&shop, "clear()", removed)?;
    println!("\nthe whole cache still has {:?}", cache.keys("*")?);
    Ok(())
}
