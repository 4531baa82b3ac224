//! Names as on a list of people and companies, made of small tables, and the same names misspelled.

use crate::random::Random;

const GIVEN_NAMES: &[&str] = &[
    "John",
    "James",
    "Mary",
    "Patricia",
    "Robert",
    "Michael",
    "Linda",
    "William",
    "Elizabeth",
    "David",
    "Vladimir",
    "Sergey",
    "Dmitry",
    "Aleksandr",
    "Natalia",
    "Olga",
    "Igor",
    "Владимир",
    "Сергей",
    "Дмитрий",
    "Ольга",
    "Mohammed",
    "Ahmed",
    "Ali",
    "Hassan",
    "Fatima",
    "Abdul Rahman",
    "Yusuf",
    "محمد",
    "أحمد",
    "علي",
    "Jose",
    "María",
    "Juan Carlos",
    "Ana",
    "Luis",
    "Jean-Luc",
    "François",
    "Giulia",
    "Marco",
    "Hans",
    "Jürgen",
    "Käthe",
    "Søren",
    "Łukasz",
    "Katarzyna",
    "Γιώργος",
    "Αλέξης",
    "Wei",
    "Xiaoming",
    "Li",
    "Jun",
    "伟",
    "小明",
    "Kim",
    "Jong",
    "Hiroshi",
    "Yuki",
    "Rajesh",
    "Priya",
    "Nguyen Van",
    "Thi",
    "Osama",
    "Mehmet",
    "Ayşe",
];

/// Surnames are made of parts, since a list has many more of them than given names.
const BEGINNINGS: &[&str] = &[
    "Smi", "John", "Wil", "Brow", "Gar", "Mart", "Rodri", "Lop", "Hern", "Iva", "Petr", "Sidor", "Kuzne",
    "Popo", "Vasi", "Hus", "Rahm", "Khali", "Qadi", "Naj", "Bin", "Far", "Sha", "Mull", "Schm", "Web", "Hof",
    "Ros", "Bian", "Ferr", "Kow", "Nowa", "Zaw", "Yama", "Tana", "Suz", "Wat", "Nak", "Chen", "Zha", "Hua",
    "Pat", "Sing", "Gup", "Papa", "Geo", "Dem", "Jan", "Lars", "Ander", "Eri", "Hak", "Yilm", "Kara", "Dub",
    "Lef", "Mor", "Ber", "Oko", "Ade", "Men", "Tra", "Pha", "Dio", "Kei", "Obi", "Wan", "Ces", "Ruf", "Tol",
];
const ENDINGS: &[&str] = &[
    "th", "son", "liams", "n", "cia", "inez", "guez", "ez", "andez", "nov", "ov", "tsov", "lyev", "sein",
    "an", "d", "far", "ladi", "ouk", "er", "idt", "mann", "si", "chi", "ari", "alski", "k", "da", "ka",
    "uki", "anabe", "amura", "g", "ng", "el", "h", "ta", "dopoulos", "rgiou", "etriou", "sen", "sson",
    "ksen", "an oglu", "az", "ois", "evre", "eau", "nard", "ye", "yemi", "sah", "oui", "op", "ita", "enko",
    "uk", "ashvili", "yan", "aitis", "berg", "stein", "wala", "pur", "eddin", "zadeh", "ini", "otti", "aldo",
    "es",
];
const MIDDLES: &[&str] = &["a", "en", "or", "il", "u", "ash", "ek", "ob", "ar", "im", "os", "ut"];
const BUSINESSES: &[&str] = &[
    "Trading",
    "Shipping",
    "General Trading",
    "International",
    "Holding",
    "Bank",
    "Industries",
    "Logistics",
    "Petroleum",
    "Marine Services",
    "Import Export",
    "Construction",
    "Technologies",
    "Foundation",
    "Airlines",
];
const LEGAL_FORMS: &[&str] =
    &["Ltd", "LLC", "GmbH", "S.A.", "OOO", "Inc.", "FZE", "Co. Ltd", "JSC", "AG", "SARL"];

/// A person in one of several orders, or a company.
pub fn name(random: &mut Random) -> String {
    let (given, surname) = (random.pick(GIVEN_NAMES), surname(random));
    match random.below(10) {
        0..4 => format!("{given} {surname}"),
        4..6 => format!("{surname}, {given} {}", random.pick(GIVEN_NAMES)),
        6 => format!("{given} bin {} al-{surname}", random.pick(GIVEN_NAMES)),
        7 => format!("{surname} {} {}", self::surname(random), random.pick(BUSINESSES)),
        _ => format!("{surname} {} {}", random.pick(BUSINESSES), random.pick(LEGAL_FORMS)),
    }
}

fn surname(random: &mut Random) -> String {
    let middle = if random.chance(600) { random.pick(MIDDLES) } else { "" };
    format!("{}{middle}{}", random.pick(BEGINNINGS), random.pick(ENDINGS))
}

/// With a letter left out and another replaced.
pub fn misspelled(name: &str, random: &mut Random) -> String {
    let mut letters: Vec<char> = name.chars().collect();
    letters.remove(random.below(letters.len() as u64) as usize);
    let at = random.below(letters.len() as u64) as usize;
    letters[at] = 'e';
    letters.into_iter().collect()
}

/// The last word first.
pub fn reordered(name: &str) -> String {
    let (first, last) = name.rsplit_once(' ').unwrap_or((name, ""));
    format!("{last} {first}")
}

/// Of syllables that the list hardly has.
pub fn unrelated(random: &mut Random) -> String {
    const SYLLABLES: &[&str] =
        &["bo", "vi", "que", "lu", "pi", "mo", "fe", "go", "xa", "ty", "dru", "wim", "ros", "gny", "ust"];
    let mut word = || (0..random.between(2, 3)).map(|_| random.pick(SYLLABLES)).collect::<String>();
    format!("{} {}", word(), word())
}

/// With the letters of every other such word, in another order.
pub fn anagram(random: &mut Random) -> String {
    let mut letters: Vec<char> = ('a'..='l').collect();
    for at in 0..letters.len() {
        letters.swap(at, random.below(12) as usize);
    }
    letters.into_iter().collect()
}

/// Words of which each is similar to all others.
pub fn similar_words(random: &mut Random) -> String {
    let mut word = || {
        let mut letters = ['a'; 10];
        letters[random.below(10) as usize] = 'b';
        String::from_iter(letters)
    };
    (0..11).map(|_| word()).collect::<Vec<_>>().join(" ")
}
