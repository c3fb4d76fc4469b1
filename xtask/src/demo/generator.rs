//! Real-looking data from a seed: products of a shop in nested categories, and cost per click at ad exchanges.

use std::fmt::Write as _;

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};

/// A name with those below it, and those below them.
type Category = (&'static str, &'static [(&'static str, &'static [&'static str])]);

const CATEGORIES: [Category; 4] = [
    (
        "Home & Kitchen",
        &[
            ("Coffee & Tea", &["Espresso Machines", "Grinders", "Kettles", "Teapots"]),
            ("Cookware", &["Pans", "Stock Pots", "Woks"]),
            ("Lighting", &["Desk Lamps", "Floor Lamps", "Light Strips"]),
        ],
    ),
    (
        "Electronics",
        &[
            ("Audio", &["Headphones", "Loudspeakers", "Turntables"]),
            ("Cameras", &["Lenses", "Mirrorless", "Tripods"]),
            ("Computers", &["Keyboards", "Laptops", "Monitors", "Mice"]),
        ],
    ),
    (
        "Outdoors",
        &[
            ("Camping", &["Lanterns", "Sleeping Bags", "Stoves", "Tents"]),
            ("Cycling", &["Helmets", "Lights", "Locks", "Panniers"]),
            ("Climbing", &["Carabiners", "Harnesses", "Ropes"]),
        ],
    ),
    (
        "Books",
        &[
            ("Fiction", &["Crime", "Historical", "Poetry", "Science Fiction"]),
            ("Science", &["Astronomy", "Biology", "Mathematics"]),
        ],
    ),
];
const MAKERS: [&str; 10] = [
    "Abendrot",
    "Brækhus",
    "Castañer",
    "Dvořák & Syn",
    "Ellsworth",
    "Fujimori 藤森",
    "Grønland",
    "Hauser",
    "Ibarra",
    "Järvinen",
];
const ADJECTIVES: [&str; 12] = [
    "Classic",
    "Compact",
    "Everyday",
    "Featherlight",
    "Folding",
    "Heritage",
    "Little",
    "Quiet",
    "Silver",
    "Travel",
    "Ultra",
    "Wide",
];
const COLOURS: [&str; 8] = ["anthracite", "blue", "cherry", "ivory", "moss", "ochre", "sand", "white"];
const TAGS: [&str; 12] = [
    "bestseller",
    "clearance",
    "fair trade",
    "gift",
    "limited",
    "new",
    "refurbished",
    "repairable",
    "seasonal",
    "staff pick",
    "vegan",
    "warranty 5y",
];
const WAREHOUSES: [&str; 6] = ["Gdańsk", "Lyon", "Malmö", "Porto", "Regensburg", "Utrecht"];
const MARKETS: [(&str, f64); 5] = [("EUR", 1.0), ("USD", 1.09), ("GBP", 0.85), ("SEK", 11.4), ("JPY", 163.0)];

/// Products as NDJSON, one a line, keyed by `sku`.
pub fn products(count: usize, seed: u64) -> String {
    let mut rng = StdRng::seed_from_u64(seed);
    let mut text = String::new();
    for number in 0..count {
        let product = product(&mut rng, number);
        // Writing to a text can't fail.
        let _ = writeln!(text, "{product}");
    }
    text
}

fn product(rng: &mut StdRng, number: usize) -> Value {
    let (top, middles) = pick(rng, &CATEGORIES);
    let (middle, leaves) = pick(rng, middles);
    let leaf = pick(rng, leaves);
    let maker = pick(rng, &MAKERS);
    let cents = rng.random_range(199_i64..250_000);
    let reviews = rng.random_range(0_i64..4_000);
    let prices: serde_json::Map<String, Value> = MARKETS
        .iter()
        .map(|(currency, rate)| ((*currency).to_owned(), json!((cents as f64 * rate).round() / 100.0)))
        .collect();
    let stock: serde_json::Map<String, Value> = some(rng, &WAREHOUSES, 4)
        .into_iter()
        .map(|place| {
            (place.to_owned(), json!({ "units": rng.random_range(0..900), "reserved": rng.random_range(0..40) }))
        })
        .collect();
    json!({
        "sku": format!("{}-{:06}", &leaf[..2].to_uppercase(), number),
        "name": format!("{maker} {} {}", pick(rng, &ADJECTIVES), leaf.trim_end_matches('s')),
        "category": {
            "path": [{ "id": slug(top), "name": top }, { "id": slug(middle), "name": middle }, { "id": slug(leaf), "name": leaf }],
            "leaf": { "id": slug(leaf), "siblings": leaves, "parent": { "id": slug(middle), "parent": { "id": slug(top) } } },
        },
        "price": prices,
        "tags": some(rng, &TAGS, 5),
        "variants": some(rng, &COLOURS, 4).into_iter().enumerate().map(|(place, colour)| json!({
            "colour": colour, "ean": rng.random_range(4_000_000_000_000_i64..5_000_000_000_000), "default": place == 0,
        })).collect::<Vec<_>>(),
        "stock": stock,
        "reviews": { "count": reviews, "mean": if reviews == 0 { Value::Null } else { json!(rng.random_range(200..501) as f64 / 100.0) } },
        "weight_grams": rng.random_range(20..24_000),
        "discontinued": rng.random_bool(0.03),
    })
}

/// Cost per click at one exchange, hour by hour, as CSV with `timestamp` and `value`: a daily and a weekly rhythm, noise
/// that remembers, and the spikes of bidding wars.
pub fn cost_per_click(hours: usize, seed: u64) -> String {
    const SECS_2011_07_01: u64 = 1_309_478_400;
    let mut rng = StdRng::seed_from_u64(seed);
    let base = rng.random_range(0.06..0.12);
    let (mut drift, mut spike) = (0.0_f64, 0.0_f64);
    let mut text = String::from("timestamp,value\n");
    for hour in 0..hours {
        let daily = (hour as f64 / 24.0 * std::f64::consts::TAU).sin() * 0.018;
        let weekly = (hour as f64 / 168.0 * std::f64::consts::TAU).cos() * 0.009;
        drift = drift * 0.97 + rng.random_range(-0.003..0.003);
        spike = if rng.random_bool(0.004) { rng.random_range(0.2..0.9) } else { spike * 0.4 };
        let value = (base + daily + weekly + drift + spike).max(0.001);
        let time = timestamp(SECS_2011_07_01 + hour as u64 * 3_600 + 1);
        let _ = writeln!(text, "{time},{value:.12}");
    }
    text
}

fn pick<'a, T>(rng: &mut StdRng, from: &'a [T]) -> &'a T {
    &from[rng.random_range(0..from.len())]
}

/// One to `most` different ones, in a seeded order.
fn some(rng: &mut StdRng, from: &[&'static str], most: usize) -> Vec<&'static str> {
    let count = rng.random_range(1..=most);
    from.sample(rng, count).copied().collect()
}

fn slug(name: &str) -> String {
    name.to_lowercase()
        .split(|c: char| !c.is_alphanumeric())
        .filter(|part| !part.is_empty())
        .collect::<Vec<_>>()
        .join("-")
}

/// `YYYY-MM-DD hh:mm:ss` of seconds since 1970 (UTC).
fn timestamp(secs: u64) -> String {
    let (days, rest) = (secs / 86_400, secs % 86_400);
    // Years are counted from 1 March, so that the leap day is a year's last.
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02} {:02}:{:02}:{:02}", rest / 3_600, rest / 60 % 60, rest % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_products_and_each_is_a_document() {
        let text = products(300, 7);
        assert_eq!(text, products(300, 7));
        assert_ne!(text, products(300, 8));
        let mut skus = std::collections::HashSet::new();
        for line in text.lines() {
            let product: Value = serde_json::from_str(line).expect("a line is a document");
            assert_eq!(product["category"]["path"].as_array().map(Vec::len), Some(3));
            assert!(skus.insert(product["sku"].as_str().expect("a sku").to_owned()));
        }
        assert_eq!(skus.len(), 300);
    }

    #[test]
    fn series_have_a_row_an_hour_with_rising_times() {
        let text = cost_per_click(1_000, 3);
        let rows: Vec<&str> = text.lines().skip(1).collect();
        assert_eq!(rows.len(), 1_000);
        assert!(rows[0].starts_with("2011-07-01 00:00:01,"), "{}", rows[0]);
        assert!(rows.windows(2).all(|pair| pair[0][..19] < pair[1][..19]));
        assert!(rows.iter().all(|row| row[20..].parse::<f64>().is_ok_and(|value| value > 0.0)));
    }

    #[test]
    fn dates_are_those_of_the_calendar() {
        assert_eq!(timestamp(0), "1970-01-01 00:00:00");
        assert_eq!(timestamp(951_782_399), "2000-02-28 23:59:59");
        assert_eq!(timestamp(951_782_400), "2000-02-29 00:00:00");
        assert_eq!(timestamp(1_735_689_599), "2024-12-31 23:59:59");
    }
}
