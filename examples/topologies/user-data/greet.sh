#!/bin/sh
echo "hello from $(hostname)" > /run/greeting
