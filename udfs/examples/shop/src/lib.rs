//! The example of docs/functions.md: what a shop does to its products, one function of each kind.

use outcrop_udf::prelude::*;
use serde::{Deserialize, Serialize};

/// Takes `percent` off the price and gives the new price.
#[record_fn]
pub fn discount(record: &mut Record, percent: f64) -> Result<f64> {
    ensure!((0.0..=100.0).contains(&percent), "a discount is 0 to 100 percent, not {percent}");
    let price: f64 = record.get("price")?.ok_or("the product has no price")?;
    let reduced = price * (1.0 - percent / 100.0);
    record.set("price", reduced)?;
    info!("{percent}% off: {price} is now {reduced}");
    count("discounts", 1);
    Ok(reduced)
}

/// Counts a visit and gives how many there were.
#[record_fn]
pub fn visit(record: &mut Record, #[default(1)] by: i64) -> Result<i64> {
    record.add("visits", by)
}

/// Price times stock over all products.
#[derive(Default, Serialize, Deserialize)]
pub struct Revenue {
    sum: f64,
    products: u64,
}

/// What [`Revenue`] gives.
#[derive(Serialize, Shape, Debug, PartialEq)]
pub struct Total {
    /// Price times stock, summed.
    pub sum: f64,
    /// Products that have both.
    pub products: u64,
}

/// What all stock would bring at today's prices.
#[aggregate]
impl Aggregate for Revenue {
    type Args = ();
    type Output = Total;

    fn init(_: ()) -> Result<Self> {
        Ok(Revenue::default())
    }

    fn accept(&mut self, record: &RecordView<'_>) -> Result<()> {
        if let (Some(price), Some(stock)) = (record.number("price"), record.integer("stock")) {
            self.sum += price * stock as f64;
            self.products += 1;
        }
        Ok(())
    }

    fn merge(&mut self, other: Self) -> Result<()> {
        self.sum += other.sum;
        self.products += other.products;
        Ok(())
    }

    fn finish(self) -> Result<Total> {
        Ok(Total { sum: self.sum, products: self.products })
    }
}

/// Products below a price: key, name and price.
#[row_fn]
pub fn cheap(record: &RecordView, below: f64) -> Result<Option<Row>> {
    let Some(price) = record.number("price").filter(|price| *price < below) else { return Ok(None) };
    let row = Row::new().with("key", record.key()?).with_bin(record, "name")?;
    Ok(Some(row.with("price", price)))
}

/// Panics, to show what a caller sees of it.
#[record_fn]
pub fn broken(record: &Record) -> i64 {
    let names = record.bin_names();
    assert!(names.len() > 1_000, "only {} bins: this function is broken on purpose", names.len());
    0
}

outcrop_udf::module! {
    doc: "What a shop does to its products.",
    functions: [discount, visit, Revenue, cheap, broken],
}

#[cfg(test)]
mod tests {
    use super::*;
    use outcrop_udf::{Level, fake};

    #[test]
    fn a_discount_lowers_the_price_and_says_so() {
        let context = fake::Context::new().enter();
        let mut product = Record::fake().bin("price", 80.0).build();
        assert_eq!(discount(&mut product, 25.0), Ok(60.0));
        assert_eq!(product.get("price"), Ok(Some(60.0)));
        assert_eq!(context.logs(), [(Level::Info, "25% off: 80 is now 60".to_owned())]);
        assert_eq!(context.counter("discounts"), 1);
    }

    #[test]
    fn a_discount_over_100_percent_changes_nothing() {
        let mut product = Record::fake().bin("price", 80.0).build();
        let error = discount(&mut product, 125.0).expect_err("too much");
        assert_eq!(error.to_string(), "a discount is 0 to 100 percent, not 125");
        assert_eq!(product.outcome(), fake::Outcome::Nothing);
    }

    #[test]
    fn revenue_and_cheap_products() {
        let product = |name: &str, price: f64, stock: i64| {
            Record::fake().key(name).bin("name", name).bin("price", price).bin("stock", stock).build()
        };
        let products = [product("lamp", 20.0, 3), product("chair", 50.0, 2), Record::fake().bin("price", 1).build()];
        let total = fake::run_aggregate::<Revenue>((), &products);
        assert_eq!(total, Ok(Total { sum: 160.0, products: 2 }));
        let row = |record: &Record| cheap(&record.view()?.ok_or("it exists")?, 30.0);
        assert_eq!(row(&products[0]).expect("a row").and_then(|row| row.get("name").cloned()), Some("lamp".into()));
        assert_eq!(row(&products[1]), Ok(None));
    }
}
