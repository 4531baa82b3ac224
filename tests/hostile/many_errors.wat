;; Fills its memory with four thousand different texts that look like errors, then traps.
(module
  ;; A valid description, so that the plugin is accepted.
  (memory (export "memory") 64)
  (data (i32.const 0x400)
    "\00\05\00\00\07\00\00\00"  ;; name     at 0x500
    "\07\05\00\00\05\00\00\00"  ;; version  at 0x507
    "\0c\05\00\00\0b\00\00\00"  ;; summary  at 0x50c
    "\17\05\00\00\02\00\00\00") ;; settings at 0x517
  (data (i32.const 0x500) "hostile" "1.0.0" "Means harm." "{}")
  (func (export "tollgate:rules/rule@1.0.0#describe") (result i32) i32.const 0x400)
  ;; No queries, no state: zeros.
  (func (export "tollgate:rules/rule@1.0.0#prepare") (param i32 i32) (result i32) i32.const 0x600)
  (global $free (mut i32) (i32.const 0x2000))
  (func (export "cabi_realloc") (param i32 i32 i32) (param $size i32) (result i32)
    (global.set $free (i32.and (i32.add (global.get $free) (i32.const 7)) (i32.const -8)))
    global.get $free
    (global.set $free (i32.add (global.get $free) (local.get $size))))
  (func (export "tollgate:rules/rule@1.0.0#evaluate") (param i32) (result i32)
    (local $at i32) (local $number i32)
    (local.set $at (i32.const 0x10000))
    (loop $again
      (i64.store (local.get $at) (i64.const 0x203a726f727245)) ;; "Error: "
      ;; Four digits to the base of eight, the lowest first, and four zeros.
      (i64.store offset=7 (local.get $at)
        (i64.or (i64.const 0x3030303030303030)
          (i64.or (i64.and (i64.extend_i32_u (local.get $number)) (i64.const 7))
            (i64.or
              (i64.shl (i64.and (i64.extend_i32_u (i32.shr_u (local.get $number) (i32.const 3))) (i64.const 7)) (i64.const 8))
              (i64.or
                (i64.shl (i64.and (i64.extend_i32_u (i32.shr_u (local.get $number) (i32.const 6))) (i64.const 7)) (i64.const 16))
                (i64.shl (i64.and (i64.extend_i32_u (i32.shr_u (local.get $number) (i32.const 9))) (i64.const 7)) (i64.const 24)))))))
      (local.set $number (i32.add (local.get $number) (i32.const 1)))
      (local.set $at (i32.add (local.get $at) (i32.const 16)))
      (br_if $again (i32.lt_u (local.get $number) (i32.const 4096))))
    unreachable))
