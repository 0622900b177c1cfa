//! Budgets by number and by scope.

use std::collections::{BTreeMap, HashMap};
use std::ops::Deref;

use kernel::BudgetNo;

use crate::{Budget, Scope};

/// Budgets in the order of their numbers, and found by scope without looking at the others. Reads like the map of its
/// budgets by number.
#[derive(Clone, Debug, Default)]
pub struct Budgets {
    by_no: BTreeMap<BudgetNo, Budget>,
    by_scope: HashMap<Scope, Vec<BudgetNo>>,
}

impl Budgets {
    /// Adds a budget, or replaces the one with its number.
    pub fn insert(&mut self, no: BudgetNo, budget: Budget) {
        let known = self.by_no.get(&no).is_some_and(|old| old.scope == budget.scope);
        if !known {
            self.remove(&no);
            let of_scope = self.by_scope.entry(budget.scope.clone()).or_default();
            let place = of_scope.partition_point(|other| *other < no);
            of_scope.insert(place, no);
        }
        self.by_no.insert(no, budget);
    }

    /// Takes a budget out.
    pub fn remove(&mut self, no: &BudgetNo) -> Option<Budget> {
        let budget = self.by_no.remove(no)?;
        if let Some(of_scope) = self.by_scope.get_mut(&budget.scope) {
            of_scope.retain(|other| other != no);
        }
        Some(budget)
    }

    /// Takes all out.
    pub fn clear(&mut self) {
        self.by_no.clear();
        self.by_scope.clear();
    }

    /// The budgets of one scope, in the order of their numbers.
    pub fn of<'a>(&'a self, scope: &Scope) -> impl Iterator<Item = &'a Budget> + use<'a> {
        let numbers = self.by_scope.get(scope).map_or(&[][..], Vec::as_slice);
        numbers.iter().filter_map(|no| self.by_no.get(no))
    }
}

impl Deref for Budgets {
    type Target = BTreeMap<BudgetNo, Budget>;

    fn deref(&self) -> &Self::Target {
        &self.by_no
    }
}

impl Extend<(BudgetNo, Budget)> for Budgets {
    fn extend<T: IntoIterator<Item = (BudgetNo, Budget)>>(&mut self, budgets: T) {
        for (no, budget) in budgets {
            self.insert(no, budget);
        }
    }
}
