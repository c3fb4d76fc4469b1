//! What stands in windows without points.

use outcrop_udf::prelude::*;
use serde::{Deserialize, Serialize};

/// How gaps are filled.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Fill {
    /// They are left out.
    #[default]
    None,
    /// Null.
    Null,
    /// Zero.
    Zero,
    /// What the window before has.
    Previous,
    /// On the line between the windows before and behind; null at the ends.
    Linear,
}

/// One aggregate's values.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Shape)]
pub struct Column {
    /// The aggregate.
    pub name: String,
    /// One value for each window.
    pub values: Vec<Option<f64>>,
}

/// Windows with their gaps filled.
#[derive(Debug, Default, PartialEq)]
pub struct Filled {
    /// Numbers of the windows.
    pub numbers: Vec<u64>,
    /// Points of each.
    pub counts: Vec<u64>,
    /// Values by aggregate, then by window.
    pub values: Vec<Vec<Option<f64>>>,
}

/// Fills the gaps between windows 0 and `last`; `rows` have number, points and a value for each of `width` aggregates.
pub fn fill(rows: &[(u64, u64, Vec<Option<f64>>)], last: u64, width: usize, how: Fill) -> Filled {
    let mut filled = Filled { values: vec![Vec::new(); width], ..Filled::default() };
    if how == Fill::None {
        for (number, count, values) in rows {
            filled.push(*number, *count, values.iter().copied());
        }
        return filled;
    }
    let mut next = rows.iter().peekable();
    let mut before: Option<&(u64, u64, Vec<Option<f64>>)> = None;
    for number in 0..=last {
        if let Some(row) = next.next_if(|row| row.0 == number) {
            filled.push(number, row.1, row.2.iter().copied());
            before = Some(row);
            continue;
        }
        let behind = next.peek();
        let gap = |place: usize| -> Option<f64> {
            let earlier = before.and_then(|row| row.2.get(place).copied().flatten());
            match how {
                Fill::None | Fill::Null => None,
                Fill::Zero => Some(0.0),
                Fill::Previous => earlier,
                Fill::Linear => {
                    let (a, b) = (before?, behind?);
                    let (from, to) = (earlier?, b.2.get(place).copied().flatten()?);
                    let share = (number - a.0) as f64 / (b.0 - a.0) as f64;
                    Some(from + (to - from) * share)
                }
            }
        };
        let values: Vec<Option<f64>> = (0..width).map(gap).collect();
        filled.push(number, 0, values.into_iter());
    }
    filled
}

impl Filled {
    fn push(&mut self, number: u64, count: u64, values: impl Iterator<Item = Option<f64>>) {
        self.numbers.push(number);
        self.counts.push(count);
        for (column, value) in self.values.iter_mut().zip(values) {
            column.push(value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaps_are_filled_as_asked() {
        let rows = [(1, 2, vec![Some(10.0)]), (4, 1, vec![Some(40.0)])];
        let values = |how| fill(&rows, 5, 1, how).values[0].clone();
        assert_eq!(values(Fill::None), [Some(10.0), Some(40.0)]);
        assert_eq!(values(Fill::Null), [None, Some(10.0), None, None, Some(40.0), None]);
        assert_eq!(values(Fill::Zero)[0], Some(0.0));
        assert_eq!(values(Fill::Previous), [None, Some(10.0), Some(10.0), Some(10.0), Some(40.0), Some(40.0)]);
        assert_eq!(values(Fill::Linear), [None, Some(10.0), Some(20.0), Some(30.0), Some(40.0), None]);
        assert_eq!(fill(&rows, 5, 1, Fill::Null).counts, [0, 2, 0, 0, 1, 0]);
        assert_eq!(fill(&[], 1, 1, Fill::Zero).values[0], [Some(0.0), Some(0.0)]);
    }
}
