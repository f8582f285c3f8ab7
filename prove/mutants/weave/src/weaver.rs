//! One file with its mutants woven in.

use std::collections::BTreeMap;

use proc_macro2::{LineColumn, Span};
use syn::spanned::Spanned;
use syn::visit::{self, Visit};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    Woven,
    Unviable,
    Apart,
}

/// What a mutant puts in the place of what stands there.
#[derive(Clone, Debug)]
enum Change {
    /// The operator or the guard by this text.
    Replace(String),
    /// The whole function's result.
    Return(String),
    /// An arm of a match is gone, which the compiler may refuse.
    DeleteArm,
    /// A field comes from the rest that follows `..`.
    DeleteField,
}

#[derive(Clone, Debug)]
pub struct Mutant {
    number: u32,
    line: usize,
    column: usize,
    change: Change,
    is_guard: bool,
    fate: Fate,
}

impl Mutant {
    /// `change` as cargo-mutants calls it.
    pub fn new(number: u32, [line, column]: [usize; 2], change: &str) -> Mutant {
        let is_guard = change.starts_with("replace match guard ");
        let by = || change.rsplit_once(" with ").map(|(_, by)| by.to_owned()).expect("a replacement");
        let is_operator = |text: &str| text.chars().all(|letter| letter.is_ascii_punctuation());
        let change = match change.split(' ').nth(1) {
            _ if change.starts_with("delete match arm ") => Change::DeleteArm,
            _ if change.starts_with("delete field ") => Change::DeleteField,
            _ if change.starts_with("delete ") => Change::Replace(String::new()),
            Some(operator) if is_guard || is_operator(operator) => Change::Replace(by()),
            _ => Change::Return(by()),
        };
        Mutant { number, line, column, change, is_guard, fate: Fate::Apart }
    }
}

/// A place where the file changes: an expression with alternatives, or a point where text goes in.
#[derive(Debug, Default)]
struct Site {
    start: usize,
    end: usize,
    alternatives: Vec<(u32, String)>,
    inserted: String,
}

struct Weaver<'a> {
    text: &'a str,
    lines: Vec<usize>,
    mutants: Vec<Mutant>,
    /// By start, the longest first.
    sites: BTreeMap<(usize, usize), Site>,
    /// The binary expressions around, as far as one is the operand of the next, and whether they hold a `let`: an operator is replaced in the text, so
    /// that what it binds may change as far out as this goes.
    chain: Vec<(usize, usize, bool)>,
    /// How many constants are around.
    constants: u32,
}

/// `text` with the mutants in it, and what became of each.
pub fn weave(text: &str, mutants: Vec<Mutant>) -> (String, Vec<(u32, Fate)>) {
    let lines = std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect();
    let mut weaver = Weaver { text, lines, mutants, sites: BTreeMap::new(), chain: Vec::new(), constants: 0 };
    weaver.visit_file(&syn::parse_file(text).expect("Rust"));
    let sites: Vec<&Site> = weaver.sites.values().collect();
    (render(text, &sites, 0, text.len()), weaver.mutants.iter().map(|mutant| (mutant.number, mutant.fate)).collect())
}

impl Weaver<'_> {
    fn offset(&self, place: LineColumn) -> usize {
        let line = &self.text[self.lines[place.line - 1]..];
        self.lines[place.line - 1] + line.char_indices().nth(place.column).map_or(line.len(), |(at, _)| at)
    }

    fn range(&self, span: Span) -> (usize, usize) {
        (self.offset(span.start()), self.offset(span.end()))
    }

    /// The mutants that begin where `span` does, for as long as they can be chosen there, by their place in the list.
    fn take(&self, span: Span, wanted: impl Fn(&Mutant) -> bool) -> Vec<usize> {
        let start = span.start();
        let here = |mutant: &Mutant| {
            (mutant.line, mutant.column) == (start.line, start.column + 1) && mutant.fate == Fate::Apart && wanted(mutant)
        };
        (0..self.mutants.len()).filter(|&at| self.constants == 0 && here(&self.mutants[at])).collect()
    }

    /// Adds to the expression at `site` what it is with `replaced` replaced.
    fn add(&mut self, site: (usize, usize), replaced: (usize, usize), taken: Vec<usize>) {
        for at in taken {
            let by = match &self.mutants[at].change {
                Change::Replace(by) => by.as_str(),
                Change::Return(_) | Change::DeleteArm | Change::DeleteField => "",
            };
            let text = format!("{}{by}{}", &self.text[site.0..replaced.0], &self.text[replaced.1..site.1]);
            let is_viable = syn::parse_str::<syn::Expr>(&text).is_ok();
            self.mutants[at].fate = if is_viable { Fate::Woven } else { Fate::Unviable };
            if is_viable {
                let number = self.mutants[at].number;
                let entry = self.sites.entry((site.0, usize::MAX - site.1)).or_default();
                (entry.start, entry.end) = site;
                entry.alternatives.push((number, text));
            }
        }
    }

    fn insert(&mut self, at: usize, text: &str) {
        let entry = self.sites.entry((at, 0)).or_default();
        (entry.start, entry.end) = (at, at);
        entry.inserted.push_str(text);
    }

    /// Weaves in what replaces the whole result of a function.
    fn returns(&mut self, block: &syn::Block) {
        let Some(first) = block.stmts.first() else { return };
        for at in self.take(first.span(), |mutant| matches!(mutant.change, Change::Return(_))) {
            let mutant = &mut self.mutants[at];
            let Change::Return(value) = &mutant.change else { continue };
            mutant.fate = if syn::parse_str::<syn::Expr>(value).is_ok() { Fate::Woven } else { Fate::Unviable };
            if mutant.fate == Fate::Woven {
                let number = mutant.number;
                let text = format!(" if crate::woven::awake() == {number} {{ return {}; }} ", marked(number, value));
                self.insert(self.offset(first.span().start()), &text);
            }
        }
    }

    fn within_constant(&mut self, is_constant: bool, visit: impl FnOnce(&mut Self)) {
        self.constants += u32::from(is_constant);
        visit(self);
        self.constants -= u32::from(is_constant);
    }
}

/// Between comments that tell whose error the compiler reports there.
fn marked(number: u32, text: &str) -> String {
    format!("/*<{number}*/{text}/*>*/")
}

fn holds_let(expression: &syn::Expr) -> bool {
    match expression {
        syn::Expr::Let(_) => true,
        syn::Expr::Binary(binary) => holds_let(&binary.left) || holds_let(&binary.right),
        _ => false,
    }
}

impl<'ast> Visit<'ast> for Weaver<'_> {
    fn visit_expr_binary(&mut self, binary: &'ast syn::ExprBinary) {
        let (start, end) = self.range(binary.span());
        let has_let = holds_let(&binary.left) || holds_let(&binary.right);
        self.chain.push((start, end, has_let));
        if !has_let {
            let outermost =
                self.chain.iter().rev().take_while(|around| !around.2).last().map_or((start, end), |around| (around.0, around.1));
            let taken = self.take(binary.op.span(), |mutant| matches!(mutant.change, Change::Replace(_)));
            self.add(outermost, self.range(binary.op.span()), taken);
        }
        for side in [&binary.left, &binary.right] {
            if matches!(**side, syn::Expr::Binary(_)) {
                self.visit_expr(side);
            } else {
                let around = std::mem::take(&mut self.chain);
                self.visit_expr(side);
                self.chain = around;
            }
        }
        self.chain.pop();
    }

    fn visit_expr_unary(&mut self, unary: &'ast syn::ExprUnary) {
        let taken = self.take(unary.op.span(), |mutant| matches!(mutant.change, Change::Replace(_)));
        self.add(self.range(unary.span()), self.range(unary.op.span()), taken);
        visit::visit_expr_unary(self, unary);
    }

    fn visit_expr_struct(&mut self, made: &'ast syn::ExprStruct) {
        for field in &made.fields {
            let taken = self.take(field.span(), |mutant| matches!(mutant.change, Change::DeleteField));
            let (start, end) = self.range(field.span());
            let comma = self.text[end..].find(|letter: char| !letter.is_whitespace()).filter(|&at| self.text[end + at..].starts_with(','));
            self.add(self.range(made.span()), (start, comma.map_or(end, |at| end + at + 1)), taken);
        }
        visit::visit_expr_struct(self, made);
    }

    fn visit_arm(&mut self, arm: &'ast syn::Arm) {
        if let Some((_, guard)) = &arm.guard
            && !holds_let(guard)
        {
            let taken = self.take(guard.span(), |mutant| mutant.is_guard);
            let range = self.range(guard.span());
            self.add(range, range, taken);
        }
        visit::visit_arm(self, arm);
    }

    fn visit_item_fn(&mut self, function: &'ast syn::ItemFn) {
        self.within_constant(function.sig.constness.is_some(), |weaver| {
            weaver.returns(&function.block);
            visit::visit_item_fn(weaver, function);
        });
    }

    fn visit_impl_item_fn(&mut self, function: &'ast syn::ImplItemFn) {
        self.within_constant(function.sig.constness.is_some(), |weaver| {
            weaver.returns(&function.block);
            visit::visit_impl_item_fn(weaver, function);
        });
    }

    fn visit_item_const(&mut self, item: &'ast syn::ItemConst) {
        self.within_constant(true, |weaver| visit::visit_item_const(weaver, item));
    }

    fn visit_expr_repeat(&mut self, repeat: &'ast syn::ExprRepeat) {
        self.visit_expr(&repeat.expr);
        self.within_constant(true, |weaver| weaver.visit_expr(&repeat.len));
    }

    fn visit_type_array(&mut self, _: &'ast syn::TypeArray) {}
}

/// The text from `start` to `end` with the sites in it, which are in order.
fn render(text: &str, sites: &[&Site], start: usize, end: usize) -> String {
    let mut out = String::new();
    let mut at = start;
    for (place, site) in sites.iter().enumerate() {
        if site.start < at || site.end > end {
            continue;
        }
        out.push_str(&text[at..site.start]);
        out.push_str(&site.inserted);
        if !site.alternatives.is_empty() {
            out.push_str("(match crate::woven::awake() { ");
            for (number, alternative) in &site.alternatives {
                out.push_str(&format!("{number} => {}, ", marked(*number, alternative)));
            }
            out.push_str("_ => ");
            out.push_str(&render(text, &sites[place + 1..], site.start, site.end));
            out.push_str(" })");
        }
        at = site.end;
    }
    out.push_str(&text[at..end]);
    out
}
