;; Has a description whose name is not a slug.
(module
  ;; A valid description, so that the plugin is accepted.
  (memory (export "memory") 2)
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
  (data (i32.const 0x500) "Evil <b")
  (func (export "tollgate:rules/rule@1.0.0#evaluate") (param i32) (result i32)
    i32.const 0x700))
